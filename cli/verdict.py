"""The tables and sentences that a sweep ends with."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from lit_adaptconv.sweep.folder import Sweep
from lit_adaptconv.verdict.summaries import SummaryTable
from lit_adaptconv.verdict.verdict import verdict_of

from .fitted import fitted, text

MOST_FAILURES = 20


def print_verdict(
    console: Console, results: pa.Table, curves: pa.Table, sweep: Sweep, *, details: bool = False
) -> None:
    """Print what the trials showed, and which did not end well; `details` adds every budget and every reason."""
    verdict = verdict_of(
        results, sweep.targets, sweep.primary_arm, sweep.metric, curves=curves, question=sweep.question
    )
    if verdict is None:
        console.print(text(f"No trial of {sweep.primary_arm} has begun: there is nothing to compare with."))
    else:
        against, finished, *_ = verdict.tables()
        for table in (finished, *_halves(against, sweep.metric.name)) if details else verdict.short_tables():
            console.print(fitted(table, console))
            console.print()
        for sentence in verdict.sentences if details else verdict.unknown:
            console.print(text(f"• {sentence}"))
        if not details:
            console.print(text("Intervals are for new seeds. The plan did not ask what is marked exploratory."))
    for note in (*(verdict.notes if verdict else ()), *sweep.notes):
        console.print(text(note), soft_wrap=True)
    print_failures(console, results, sweep)


def print_failures(console: Console, results: pa.Table, sweep: Sweep, *, busy: bool = False) -> None:
    """Print why trials did not end well; while the sweep is busy, those that are running are well."""
    titles = {trial.id: trial.title for trial in sweep.trials}
    well = pa.array(["done", "interrupted"] if busy else ["done"])
    unwell = results.filter(pc.invert(pc.is_in(results["status"], well)))
    rows = unwell.select(["trial", "status", "reason"]).to_pylist()
    for row in rows[:MOST_FAILURES]:
        line = f"{titles[row['trial']]}: {row['status']}: {row['reason']}"
        console.print(text(line), soft_wrap=True)
    if len(rows) > MOST_FAILURES:
        console.print(f"and {len(rows) - MOST_FAILURES} more; results.parquet has them all")


def _halves(summary: SummaryTable, metric: str) -> list[SummaryTable]:
    """The verdict in two tables, steps and the metric."""
    head = 3
    middle = next(place for place, name in enumerate(summary.columns) if place > head and name.startswith("Test "))
    parts = []
    for name, part in (("steps", slice(head, middle)), (metric, slice(middle, None))):
        columns = (*summary.columns[:head], *summary.columns[part])
        rows = tuple((*row[:head], *row[part]) for row in summary.rows)
        parts.append(SummaryTable(f"{summary.title}: {name}", columns, rows))
    return parts
