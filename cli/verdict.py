"""The tables and sentences that a sweep ends with."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from lit_adaptconv.sweep.folder import Sweep
from lit_adaptconv.sweep.summaries import SummaryTable
from lit_adaptconv.sweep.verdict import verdict_of

MOST_FAILURES = 20


def print_verdict(console: Console, results: pa.Table, sweep: Sweep) -> None:
    """Print what the trials showed, and which did not end well."""
    verdict = verdict_of(results, sweep)
    if verdict is None:
        console.print(f"No trial of {sweep.primary_arm} has begun: there is nothing to compare with.")
    else:
        against, accuracy, *_ = verdict.tables()
        console.print(_table(accuracy))
        for table in _halves(against) if console.width < 150 else [against]:
            console.print(_table(table))
        for sentence in verdict.sentences:
            console.print(f"• {sentence}", highlight=False)
    print_failures(console, results, sweep)


def print_failures(console: Console, results: pa.Table, sweep: Sweep) -> None:
    """Print why trials did not end well."""
    titles = {trial.id: trial.title for trial in sweep.trials}
    rows = results.filter(pc.not_equal(results["status"], "done")).select(["trial", "status", "reason"]).to_pylist()
    for row in rows[:MOST_FAILURES]:
        line = f"{titles[row['trial']]}: {row['status']}: {row['reason']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(rows) > MOST_FAILURES:
        console.print(f"and {len(rows) - MOST_FAILURES} more; results.parquet has them all")


def _table(summary: SummaryTable) -> Table:
    table = Table(*summary.columns, title=summary.title)
    for name, column in zip(summary.columns, table.columns, strict=True):
        column.justify = "left" if name in ("Arm", "Claim") else "right"
        column.overflow = "fold"
        column.no_wrap = name == "Arm"
    for row in summary.rows:
        table.add_row(*row)
    return table


def _halves(summary: SummaryTable) -> list[SummaryTable]:
    """The verdict in two tables, steps and accuracy, for a narrow screen."""
    head, middle = 3, 3 + (len(summary.columns) - 3) // 2
    parts = []
    for part in (slice(head, middle), slice(middle, None)):
        columns = (*summary.columns[:head], *summary.columns[part])
        rows = tuple((*row[:head], *row[part]) for row in summary.rows)
        parts.append(SummaryTable(summary.title, columns, rows))
    return parts
