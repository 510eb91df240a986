"""What a finished sweep says, as the words, numbers and tables that documents quote: see `benchmarks/results.py`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
from adaptconv_cli.verdict import print_verdict
from rich.console import Console

from benchmarks.quotations import Numbers
from lit_adaptconv.text import markdown, markdown_table
from lit_adaptconv.verdict import tables
from lit_adaptconv.verdict.numbers import NONE
from lit_adaptconv.verdict.summaries import MEASURES, Measure, SpeedSummary, SummaryTable


class Facts(Numbers):
    """A sweep's results, asked in words.

    The public methods (of this class the tables) are what a document may ask: the first word is the method, the others
    are its arguments.
    """

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

    def accuracies(self, target: str) -> str:
        """Arms as rows, and for each budget parameters, test accuracy and share of seeds at the target."""
        columns = ["Arm"]
        for budget in self._budgets:
            within = "" if budget == "None" else f"≤ {int(budget):,}: "
            columns += [f"{within}parameters", "test accuracy", f"≥ {self._goal(target)}"]
        rows = []
        for arm in self._arms:
            row = [arm]
            for budget in self._budgets:
                if (arm, budget) in self._trained:
                    row += [self.parameters(arm, budget), self.accuracy(arm, budget), self.share(arm, budget, target)]
                else:
                    row += [NONE] * 3
            rows.append(tuple(row))
        return _markdown(SummaryTable("", tuple(columns), tuple(rows)))

    def medians(self, target: str, budget: str) -> str:
        """Arms as rows: how many seeds reached a validation accuracy, and the medians in every measure."""
        rows = []
        for arm in self._arms_at(budget):
            found = {m: self._convergence(arm, budget, target, m) for m in MEASURES}
            reached = f"{found['steps'].n_reached} of {found['steps'].at.n}"
            rows.append((arm, reached, *(_median(found[m]) for m in MEASURES)))
        heads = tuple(f"median {name}" for name in ("steps", "epochs", "training FLOPs", "seconds"))
        return _markdown(SummaryTable("", ("Arm", f"validation ≥ {self._goal(target)}", *heads), tuple(rows)))

    def speeds(self, target: str, measure: Measure = "steps") -> str:
        """Arms as rows, budgets as columns: what it takes to reach a target, as a ratio to the primary arm's."""
        budgets = ("usual size" if budget == "None" else f"≤ {int(budget):,}" for budget in self._budgets)
        columns = ("Arm", *budgets)
        rows = [
            (arm, *(self.speed(arm, budget, target, measure) for budget in self._budgets)) for arm in self._arms[1:]
        ]
        return _markdown(SummaryTable("", columns, tuple(rows)))

    def ratios(self, budget: str, target: str) -> str:
        """Arms as rows, measures as columns: what it takes to reach a target, as a ratio to the primary arm's."""
        measures: tuple[Measure, ...] = ("steps", "flops", "seconds")
        heads = ("Arm", *(f"{name} to {self._goal(target)}" for name in ("steps", "training FLOPs", "seconds")))
        primary = self._content.sweep.primary_arm
        arms = [arm for arm in self._arms_at(budget) if arm != primary]
        rows = [(arm, *(self.speed(arm, budget, target, measure) for measure in measures)) for arm in arms]
        return _markdown(SummaryTable("", heads, tuple(rows)))

    def differences(self, budget: str) -> str:
        """Arms as rows, the most accurate first: accuracy, and difference to the primary arm with its evidence."""
        arms = sorted(self._arms_at(budget), key=lambda arm: -(self._accuracy(arm, budget).mean or 0.0))
        rows = []
        for arm in arms:
            cells = [arm, self.parameters(arm, budget), self.flops(arm, budget), self.accuracy(arm, budget)]
            if arm == self._content.sweep.primary_arm:
                rows.append((*cells, *[NONE] * 4))
            else:
                c = self._comparison(arm, budget, self._metric, None)
                rows.append((*cells, c.estimate_text, c.interval_text, c.p_text, c.answer))
        heads = ("Arm", "parameters", "FLOPs", "test accuracy", "points", "95 % interval", "p", "answer")
        return _markdown(SummaryTable("", heads, tuple(rows)))

    def validations(self, budget: str) -> str:
        """Arms as rows: widths, parameters and mean validation accuracy at the end, which a choice may look at."""
        rows = []
        trials = self._content.results.to_pylist()
        for arm in self._arms_at(budget):
            mine = [row for row in trials if (row["arm"], str(row["budget"])) == (arm, budget)]
            mean = self._metric.shown(float(np.mean([row["val_metric"] for row in mine])))
            rows.append((arm, mine[0]["widths"], f"{mine[0]['parameters']:,}", mean))
        return _markdown(SummaryTable("", ("Arm", "widths", "parameters", "validation accuracy"), tuple(rows)))

    def tried(self, budget: str) -> str:
        """What tuning tried as rows, arms as columns: mean validation accuracy of the seeds."""
        table = self._content.tuning
        if table is None:
            raise KeyError("the sweep was not tuned")
        found: dict[str, dict[str, list[float | None]]] = {}
        for row in table.to_pylist():
            if str(row["budget"]) == budget:
                end = row["val_metric"] if row["status"] == "done" else None
                found.setdefault(row["values"], {}).setdefault(row["arm"], []).append(end)
        rows = []
        for values in sorted(found, key=lambda text: [*json.loads(text).values()]):
            means = [np.mean(np.array(found[values].get(arm, [None]), dtype=float)) for arm in self._arms]
            rows.append((_values(values), *(self._metric.shown(float(mean)) for mean in means)))
        return _markdown(SummaryTable("", ("Tried", *self._arms), tuple(rows)))

    def networks(self) -> str:
        """Backbone where they differ, widths, FLOPs and what tuning chose, of every arm at every budget."""
        rows: list[tuple[str, ...]] = []
        seen = set()
        several = len(set(self._content.results["backbone"].to_pylist())) > 1
        for row in self._content.results.to_pylist():
            if (row["arm"], row["budget"]) not in seen:
                seen.add((row["arm"], row["budget"]))
                chosen = _values(row["tuned"] or "{}") or NONE
                options = ", ".join(f"{k} {v}" for k, v in json.loads(row["kind_options"] or "{}").items())
                size = (f"{row['parameters']:,}", f"{row['flops']:,}") if row["parameters"] else (NONE,) * 2
                kind = row["kind"] + (f" ({options})" if options else "")
                backbone = (row["backbone"],) if several else ()
                budget = NONE if row["budget"] is None else f"{row['budget']:,}"
                rows.append((row["arm"], *backbone, kind, budget, row["widths"], *size, chosen))
        heads = ("Arm", *(("backbone",) if several else ()), "kind", "budget", "widths", "parameters", "FLOPs", "tuned")
        return _markdown(SummaryTable("", heads, tuple(rows)))

    def screen(self, first: str, last: str) -> str:
        """Lines of what `adaptconv sweep` prints at its end, on a terminal of 100 columns."""
        content, printed = self._content, io.StringIO()
        console = Console(file=printed, width=100, color_system=None)
        print_verdict(console, content.results, content.curves, content.sweep)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()[int(first) - 1 : int(last)]]
        return "\n".join(["", "```text", *lines, "```", ""])

    def conditions(self) -> str:
        """Versions, device and code of the trials."""
        return (
            "\n" + " · ".join(f"{markdown(name)}: {markdown(value)}" for name, value in self._content.conditions) + "\n"
        )


def _values(values: str) -> str:
    """What tuning set, in words."""
    return ", ".join(f"{name.rsplit('.')[-1]} {value:.3g}" for name, value in json.loads(values).items())


def _median(found: SpeedSummary) -> str:
    return "not reached by half" if found.median is None else tables.median_text(found)


def _markdown(table: SummaryTable) -> str:
    return "\n" + "\n".join(markdown_table(table.columns, table.rows)) + "\n"
