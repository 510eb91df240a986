"""The tables and sentences that a sweep ends with."""

from __future__ import annotations

import textwrap
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.table import Table

from lit_adaptconv.sweep.folder import Sweep
from lit_adaptconv.sweep.summaries import SummaryTable
from lit_adaptconv.sweep.verdict import Verdict, summarise

MOST_FAILURES = 20
HEADING = 10
"""Longest line of a column's heading."""


def verdict_of(results: pa.Table, sweep: Sweep) -> Verdict | None:
    """What the trials so far show; None while the arm to compare with has no trial."""
    if sweep.primary_arm not in results["arm"].to_pylist():
        return None
    return summarise(results, sweep.targets, sweep.primary_arm)


def print_verdict(console: Console, results: pa.Table, sweep: Sweep) -> None:
    """Print what the trials showed, and which did not end well."""
    verdict = verdict_of(results, sweep)
    if verdict is None:
        console.print(f"No trial of {sweep.primary_arm} has begun: there is nothing to compare with.")
    else:
        against, accuracy, *_ = verdict.tables()
        whole = _table(against)
        tables = [whole] if _fits(whole, console) else [_fitted(half, console) for half in _halves(against)]
        for table in (_fitted(accuracy, console), *tables):
            console.print(table)
            console.print()
        for sentence in verdict.sentences:
            console.print(f"• {sentence}", highlight=False)
    print_failures(console, results, sweep)


def print_failures(console: Console, results: pa.Table, sweep: Sweep, *, busy: bool = False) -> None:
    """Print why trials did not end well; while the sweep is busy, those that are running or to be continued are well."""
    titles = {trial.id: trial.title for trial in sweep.trials}
    well = pa.array(["done", "interrupted"] if busy else ["done"])
    rows = results.filter(pc.invert(pc.is_in(results["status"], well))).select(["trial", "status", "reason"]).to_pylist()
    for row in rows[:MOST_FAILURES]:
        line = f"{titles[row['trial']]}: {row['status']}: {row['reason']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(rows) > MOST_FAILURES:
        console.print(f"and {len(rows) - MOST_FAILURES} more; results.parquet has them all")


def _table(summary: SummaryTable, padding: int = 1, *, folded: bool = False) -> Table:
    table = Table(title=summary.title, box=box.SIMPLE_HEAD, padding=(0, padding, 0, 0), show_edge=False)
    for name in summary.columns:
        heading = "\n".join(textwrap.wrap(name, HEADING, break_long_words=False))
        justify: Literal["left", "right"] = "left" if name in ("Arm", "Claim") else "right"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=name == "Arm" or not folded)
    for row in summary.rows:
        table.add_row(*row)
    return table


def _fits(table: Table, console: Console) -> bool:
    unbounded = console.options.update(max_width=10_000)
    return console.measure(table, options=unbounded).maximum <= console.width


def _fitted(summary: SummaryTable, console: Console) -> Table:
    """The table as wide as the screen has room for; where that is too little a number is folded, never cut."""
    unfolded = (_table(summary, padding) for padding in (1, 0))
    return next((table for table in unfolded if _fits(table, console)), _table(summary, 0, folded=True))


def _halves(summary: SummaryTable) -> list[SummaryTable]:
    """The verdict in two tables, steps and accuracy, for a narrow screen."""
    head, middle = 3, 3 + (len(summary.columns) - 3) // 2
    parts = []
    for name, part in (("speed", slice(head, middle)), ("accuracy", slice(middle, None))):
        columns = (*summary.columns[:head], *summary.columns[part])
        rows = tuple((*row[:head], *row[part]) for row in summary.rows)
        parts.append(SummaryTable(f"{summary.title}: {name}", columns, rows))
    return parts
