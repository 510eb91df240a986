"""What a finished sweep says, as the words, numbers and tables that documents quote: see `benchmarks/results.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lit_adaptconv.report.content import SweepContent, read_content
from lit_adaptconv.report.summary import markdown, markdown_table
from lit_adaptconv.sweep import tables
from lit_adaptconv.sweep.sentences import p_value, percent, points
from lit_adaptconv.sweep.statistics import mean_interval, sign_flip_test
from lit_adaptconv.sweep.summaries import AccuracySummary, ArmSummary, Comparison, Measure, SummaryTable
from lit_adaptconv.sweep.verdict import Verdict, summarise


class Facts:
    """A sweep's results, asked in words.

    The public methods are what a document may ask: the first word is the method, the others are its arguments.

    Args:
        folder: Holds `sweep.json`, `results.parquet` and `curves.parquet`.
    """

    def __init__(self, folder: Path) -> None:
        self._content: SweepContent = read_content(folder)
        self._verdicts: dict[str, Verdict] = {}

    def ask(self, question: str) -> str:
        """Answer a question such as `accuracy low_rank 934`.

        Raises:
            KeyError: There is no such fact.
        """
        name, *words = question.split()
        method: Callable[..., str] | None = getattr(self, name, None)
        if name.startswith("_") or method is None or method.__annotations__["return"] != "str":
            raise KeyError(f"no fact is called {name!r}")
        return method(*words)

    # Single numbers.

    def accuracy(self, arm: str, budget: str) -> str:
        """Mean test accuracy ± standard deviation of the finished networks, and how many diverged."""
        found = self._accuracy(arm, budget)
        assert found.mean is not None
        spread = "" if found.sd is None else f" ± {100 * found.sd:.2f}"
        diverged = f" ({found.at.n - found.n} of {found.at.n} diverged)" if found.n < found.at.n else ""
        return f"{100 * found.mean:.2f} %{spread}{diverged}"

    def parameters(self, arm: str, budget: str) -> str:
        """Trainable parameters."""
        return f"{self._accuracy(arm, budget).at.parameters:,}"

    def flops(self, arm: str, budget: str) -> str:
        """FLOPs of a forward pass of one image."""
        return f"{self._accuracy(arm, budget).at.flops:,}"

    def share(self, arm: str, budget: str, target: str) -> str:
        """How many of the seeds have at least this test accuracy; one that diverged has not."""
        values = self._test_accuracies(arm, budget)
        return f"{int((values >= float(target) - 1e-9).sum())} of {self._accuracy(arm, budget).at.n}"

    def speed(self, arm: str, budget: str, target: str, measure: Measure, against: str = "") -> str:
        """Ratio to the primary arm's, or that of the arm `against`, with its evidence."""
        return _evidence(self._comparison(arm, budget, measure, float(target), against))

    def difference(self, arm: str, budget: str, against: str = "") -> str:
        """Difference of test accuracy to the primary arm, or the arm `against`, with its evidence."""
        return _evidence(self._comparison(arm, budget, "accuracy", None, against))

    def across(self, arm: str, budget: str, other: str, other_budget: str) -> str:
        """Paired difference of test accuracy between two arms at two budgets, with interval, n and p."""
        differences = self._test_accuracies(arm, budget) - self._test_accuracies(other, other_budget)
        differences = differences[np.isfinite(differences)]
        low, high = (float(end[0]) for end in mean_interval(differences[None]))
        p = float(sign_flip_test(differences[None])[0])
        interval = f"{points(low)} to {points(high)}, " if np.isfinite(low) else ""
        return f"{points(float(differences.mean()))} points ({interval}n = {len(differences)}, p = {p_value(p)})"

    # Tables.

    def accuracies(self, target: str) -> str:
        """Arms as rows, and for each budget parameters, test accuracy and share of seeds at the target."""
        columns = ["Arm"]
        for budget in self._budgets:
            columns += [f"≤ {int(budget):,}: parameters", "test accuracy", f"≥ {percent(float(target))}"]
        rows = []
        for arm in self._arms:
            row = [arm]
            for budget in self._budgets:
                if (arm, budget) in self._trained:
                    row += [self.parameters(arm, budget), self.accuracy(arm, budget), self.share(arm, budget, target)]
                else:
                    row += [tables.NONE] * 3
            rows.append(tuple(row))
        return _markdown(SummaryTable("", tuple(columns), tuple(rows)))

    def medians(self, target: str, budget: str) -> str:
        """Arms as rows: how many seeds reached a validation accuracy, and the medians in every measure."""
        rows = []
        for arm in (arm for arm in self._arms if (arm, budget) in self._trained):
            found = {m: self._convergence(arm, budget, target, m) for m in get_args(Measure)}
            reached = f"{found['steps'].n_reached} of {found['steps'].at.n}"
            rows.append((arm, reached, *(_median(found[m]) for m in get_args(Measure))))
        heads = tuple(f"median {name}" for name in ("steps", "epochs", "training FLOPs", "seconds"))
        return _markdown(SummaryTable("", ("Arm", f"validation ≥ {percent(float(target))}", *heads), tuple(rows)))

    def speeds(self, target: str, measure: Measure = "steps") -> str:
        """Arms as rows, budgets as columns: what it takes to reach a target, as a ratio to the primary arm's."""
        columns = ("Arm", *(f"≤ {int(budget):,}" for budget in self._budgets))
        rows = [
            (arm, *(self.speed(arm, budget, target, measure) for budget in self._budgets)) for arm in self._arms[1:]
        ]
        return _markdown(SummaryTable("", columns, tuple(rows)))

    def differences(self, budget: str) -> str:
        """Arms as rows, the most accurate first: accuracy, and difference to the primary arm with its evidence."""
        trained = [arm for arm in self._arms if (arm, budget) in self._trained]
        arms = sorted(trained, key=lambda arm: -(self._accuracy(arm, budget).mean or 0.0))
        rows = []
        for arm in arms:
            cells = [arm, self.parameters(arm, budget), self.flops(arm, budget), self.accuracy(arm, budget)]
            if arm == self._content.sweep.primary_arm:
                rows.append((*cells, *[tables.NONE] * 4))
            else:
                c = self._comparison(arm, budget, "accuracy", None)
                interval, p, _ = tables.evidence_texts(c)
                rows.append((*cells, tables.estimate_text(c), interval, p, c.claim))
        heads = ("Arm", "parameters", "FLOPs", "test accuracy", "points", "95 % interval", "p", "claim")
        return _markdown(SummaryTable("", heads, tuple(rows)))

    def networks(self) -> str:
        """Widths, FLOPs and what tuning chose, of every arm at every budget."""
        rows = []
        seen = set()
        for row in self._content.results.to_pylist():
            if (row["arm"], row["budget"]) not in seen:
                seen.add((row["arm"], row["budget"]))
                tuned = json.loads(row["tuned"]) if row["tuned"] else {}
                chosen = ", ".join(f"{k.rsplit('.')[-1]} {v:.3g}" for k, v in tuned.items()) or tables.NONE
                options = ", ".join(f"{k} {v}" for k, v in json.loads(row["kind_options"] or "{}").items())
                size = (f"{row['parameters']:,}", f"{row['flops']:,}") if row["parameters"] else (tables.NONE,) * 2
                kind = row["kind"] + (f" ({options})" if options else "")
                rows.append((row["arm"], kind, f"{row['budget']:,}", row["widths"], *size, chosen))
        heads = ("Arm", "kind", "budget", "widths", "parameters", "FLOPs", "tuned")
        return _markdown(SummaryTable("", heads, tuple(rows)))

    def conditions(self) -> str:
        """Versions, device and code of the trials, on one line each."""
        return (
            "\n"
            + "\n".join(f"- {markdown(name)}: {markdown(value)}" for name, value in self._content.conditions)
            + "\n"
        )

    @cached_property
    def _trained(self) -> set[tuple[str, str]]:
        return {(a.at.arm, str(a.at.budget)) for a in self._verdict().accuracy if a.n}

    @cached_property
    def _budgets(self) -> list[str]:
        return [str(budget) for budget in self._content.budgets]

    @cached_property
    def _arms(self) -> list[str]:
        return list(self._content.arms)

    def _verdict(self, against: str = "") -> Verdict:
        primary = against or self._content.sweep.primary_arm
        if primary not in self._verdicts:
            self._verdicts[primary] = summarise(self._content.results, self._content.sweep.targets, primary)
        return self._verdicts[primary]

    def _accuracy(self, arm: str, budget: str) -> AccuracySummary:
        return next(a for a in self._verdict().accuracy if (a.at.arm, str(a.at.budget)) == (arm, budget))

    def _convergence(self, arm: str, budget: str, target: str, measure: Measure) -> ArmSummary:
        wanted = (arm, budget, float(target), measure)
        found = self._verdict().convergence
        return next(c for c in found if (c.at.arm, str(c.at.budget), c.target, c.measure) == wanted)

    def _comparison(
        self, arm: str, budget: str, measure: Measure | Literal["accuracy"], target: float | None, against: str = ""
    ) -> Comparison:
        wanted = (arm, budget, measure, target)
        found = self._verdict(against).comparisons
        return next(c for c in found if (c.arm, str(c.budget), c.measure, c.target) == wanted)

    def _test_accuracies(self, arm: str, budget: str) -> np.ndarray:
        """By pair; NaN where there is none.

        Raises:
            KeyError: There is none at all.
        """
        rows = self._content.results.select(["arm", "budget", "pair", "status", "test_accuracy"]).to_pylist()
        values = np.full(1 + max(row["pair"] for row in rows), np.nan)
        for row in rows:
            if (row["arm"], str(row["budget"]), row["status"]) == (arm, budget, "done"):
                values[row["pair"]] = row["test_accuracy"]
        if not np.isfinite(values).any():
            raise KeyError(f"{arm} has no finished trial at {budget}")
        return values


def _evidence(c: Comparison) -> str:
    if c.estimate is None:
        return tables.NONE
    if c.undecided:
        return "none arrived"
    interval, p, _ = tables.evidence_texts(c)
    unit = " points" if c.measure == "accuracy" else ""
    known = "" if interval == tables.NONE else f"{interval}, "
    cut = f", {c.n_cut} cut off" if c.n_cut else ""
    return f"{tables.estimate_text(c)}{unit} ({known}n = {c.n_pairs}{cut}, p = {p}; {c.claim})"


def _median(found: ArmSummary) -> str:
    return "not reached by half" if found.median is None else tables.median_text(found)


def _markdown(table: SummaryTable) -> str:
    return "\n" + "\n".join(markdown_table(table)) + "\n"
