"""What a report is made from: a sweep's folder, read once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Budget, Limits, in_order
from lit_adaptconv.measure.latency import Latencies, read_latencies
from lit_adaptconv.report.style import ArmStyle, arm_styles
from lit_adaptconv.sweep.folder import TRIALS, Sweep, SweepFolder
from lit_adaptconv.sweep.store import CURVES, RESULTS, Store, read_curves, read_results, readable
from lit_adaptconv.sweep.tuning_table import read_tuning
from lit_adaptconv.text import csv_text, visible
from lit_adaptconv.verdict.budget_columns import budgets_of
from lit_adaptconv.verdict.equal_cost import NAMES, EqualCost, equal_cost
from lit_adaptconv.verdict.latency_table import latency_note, latency_table
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.observations import Observations, observe
from lit_adaptconv.verdict.summaries import SummaryTable
from lit_adaptconv.verdict.verdict import Verdict, verdict_of

MOST_BUDGETS = 24
"""Budgets that have figures of their own; of more, this many are shown, evenly spread."""


@dataclass(frozen=True)
class SweepContent:
    """A sweep, and what it has shown so far; no text of it has a character that is not seen.

    Attributes:
        path: Its folder.
        sweep: Its facts.
        plan: Its plan as YAML; None where the folder has none.
        busy: Whether its trials are running.
        results: One row per trial.
        curves: One row per evaluation.
        verdict: What the trials show; None while the primary arm has no trial.
        latencies: What an image takes in each network; None where nobody measured it.
        tuning: One row per tuning trial; None where nothing was tuned.
    """

    path: Path
    sweep: Sweep
    plan: str | None
    busy: bool
    results: pa.Table
    curves: pa.Table
    verdict: Verdict | None
    latencies: Latencies | None = None
    tuning: pa.Table | None = None

    @property
    def metric(self) -> Metric:
        """What the networks are judged by."""
        return self.sweep.metric

    @property
    def arms(self) -> dict[str, ArmStyle]:
        """The arms that have begun, the primary arm first."""
        first = self.sweep.primary_arm
        names = [str(name) for name in self.results["arm"].unique().to_pylist()]
        return arm_styles([first, *(name for name in names if name != first)] if names else [])

    @property
    def budgets(self) -> tuple[Limits | None, ...]:
        """All budgets, in order, None (the usual width) last."""
        return in_order(budgets_of(self.results))

    @property
    def shown_budgets(self) -> tuple[Limits | None, ...]:
        """The budgets that have figures of their own on the page."""
        return self.some_budgets(MOST_BUDGETS)

    def some_budgets(self, most: int) -> tuple[Limits | None, ...]:
        """All budgets or, where they are more, so many of them, evenly spread."""
        count = min(most, len(self.budgets))
        return tuple(self.budgets[i] for i in np.linspace(0, len(self.budgets) - 1, count).round().astype(int))

    def observations(self) -> Observations:
        """The trials as arms × budgets × pairs."""
        return observe(self.results, self.sweep.targets, self.sweep.primary_arm, self.curves, self.metric)

    @cached_property
    def equal_costs(self) -> tuple[EqualCost, ...]:
        """What can be said at equal FLOPs, and at equal widths; nothing while there is no verdict."""
        if self.verdict is None:
            return ()
        observations = self.observations()
        cells, confidence = observations.cells(), self.verdict.confidence
        return tuple(equal_cost(observations, cells, cost, confidence) for cost in NAMES)

    def timed(self, latency: str) -> bool:
        """Whether a column of latency has a value."""
        return any(getattr(a.at, latency) for a in self.verdict.finished) if self.verdict else False

    @property
    def latency_tables(self) -> tuple[SummaryTable, ...]:
        """The table of latencies; none where nobody measured them."""
        return () if self.latencies is None else (latency_table(self.latencies),)

    @property
    def statuses(self) -> dict[str, int]:
        """Number of trials of each status."""
        return dict(Counter(self.results["status"].to_pylist()))

    @property
    def state(self) -> str:
        """How far it is, in words."""
        done = self.statuses.get("done", 0)
        under_way = {"interrupted": "running or interrupted"} if self.busy else {}
        others = "".join(f", {n:,} {under_way.get(s, s)}" for s, n in self.statuses.items() if s != "done")
        now = "running" if self.busy else "finished" if done == self.sweep.expected else "not finished"
        return f"{now}: {done:,} of {self.sweep.expected:,} trials done{others}"

    def named(self, table: pa.Table) -> pa.Table:
        """The results or the curves as text takes them: the metric's own name in the columns, and no packed bits."""
        table = readable(table)
        return table.rename_columns(self.metric.headings(table.column_names))

    def distinct(self, column: str) -> list[str]:
        """The different values of a column in the trials that ran, the most frequent first; a dash for none."""
        values = zip(*(self.results[name].to_pylist() for name in (column, "versions")), strict=True)
        counts = Counter("–" if value is None else str(value) for value, versions in values if versions is not None)
        return [value for value, _ in counts.most_common()]

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """What the trials ran on: versions, device, threads, commit; all values where they differ."""
        versions: dict[str, list[str]] = {}
        for text in self.distinct("versions"):
            for package, version in json.loads(text).items():
                if str(version) not in versions.setdefault(str(package), []):
                    versions[str(package)].append(str(version))
        found = [(package, ", ".join(values)) for package, values in versions.items()]
        for title, column in (("Device", "device"), ("CPU threads a trial", "threads"), ("Git commit", "git_commit")):
            found.append((title, ", ".join(self.distinct(column)) or "–"))
        timed = [] if self.latencies is None else [("Latency", latency_note(self.latencies))]
        return [*found, ("Code of the trials", ", ".join(self.distinct("code_version")) or "–"), *timed]


def read_content(path: Path) -> SweepContent:
    """Read a sweep's folder, running or not; what it holds is not changed.

    Raises:
        UserError: It is not the folder of a sweep, or one of its files can't be read.
    """
    folder = SweepFolder(path)
    sweep = folder.read()
    try:
        results, curves = read_results(path), read_curves(path)
    except UserError:  # a sweep writes its tables some seconds after it began; and they may be damaged
        if not (path / TRIALS).is_dir() and ((path / RESULTS).exists() or (path / CURVES).exists()):
            raise
        store = Store(folder, sweep)
        results, curves = store.results(), store.curves()
    return content_of(path, sweep, folder.busy, results, curves)


def content_of(path: Path, sweep: Sweep, busy: bool, results: pa.Table, curves: pa.Table) -> SweepContent:
    """What a report is made from, where the tables are at hand.

    Args:
        path: The sweep's folder.
        sweep: Its facts.
        busy: Whether something is running in the folder: its trials or, when all are done, a measurement.
        results: One row per trial.
        curves: One row per evaluation.
    """
    plan = path / "plan.yaml"
    text = plan.read_text(encoding="utf-8", errors="replace") if plan.is_file() else None
    sweep = replace(
        sweep,
        name=visible(sweep.name),
        data=visible(sweep.data),
        model=visible(sweep.model),
        backbone=visible(sweep.backbone),
        primary_arm=visible(sweep.primary_arm),
        notes=tuple(map(visible, sweep.notes)),
    )
    results, curves, tuning = _mapped(results, visible), _mapped(curves, visible), read_tuning(path)
    return SweepContent(
        path=path,
        sweep=sweep,
        plan=text and "\n".join(map(visible, text.splitlines())),
        busy=busy and results["status"].to_pylist().count("done") < sweep.expected,
        results=results,
        curves=curves,
        verdict=verdict_of(
            results, sweep.targets, sweep.primary_arm, sweep.metric, curves=curves, question=sweep.question
        ),
        latencies=read_latencies(path),
        tuning=None if tuning is None else _mapped(tuning, visible),
    )


def for_csv(table: pa.Table) -> pa.Table:
    """A table whose texts are no formulas of a spreadsheet."""
    return _mapped(table.rename_columns([csv_text(name) for name in table.column_names]), csv_text)


def _mapped(table: pa.Table, function: Callable[[str], str]) -> pa.Table:
    """A table with another text for each of its texts."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(place).combine_chunks().dictionary_encode()
            others = pa.array(map(function, texts.dictionary.to_pylist()), pa.string())
            table = table.set_column(place, field, pc.take(others, texts.indices))
    return table


def budget_name(budget: Limits | None) -> str:
    """A budget as people read it."""
    return "usual width" if budget is None else str(Budget.of(budget))
