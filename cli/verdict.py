"""The tables that a sweep ends with."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from lit_adaptconv.sweep.folder import Sweep
from lit_adaptconv.sweep.schema import to_target

from .tables import percent


def print_verdict(console: Console, results: pa.Table, sweep: Sweep) -> None:
    """Print what the trials showed, a row an arm and budget."""
    table = Table("Budget", "Arm", "Parameters", "FLOPs", "Trials", "Test accuracy", title=sweep.name)
    for target in sweep.targets:
        table.add_column(f"{100 * target:g} % reached")
    for column in table.columns[2:]:
        column.justify = "right"
    groups = dict.fromkeys((trial.budget, trial.arm) for trial in sweep.trials)
    for budget, arm in sorted(groups, key=lambda group: group[0] or 0):
        rows = results.filter(pc.equal(results["arm"], arm))
        rows = rows.filter(pc.is_null(rows["budget"]) if budget is None else pc.equal(rows["budget"], budget))
        done = rows.filter(pc.equal(rows["status"], "done"))
        reached = [done.num_rows - done[to_target("steps", target)].null_count for target in sweep.targets]
        table.add_row(
            "–" if budget is None else f"{budget:,}",
            arm,
            _first(rows["parameters"]),
            _first(rows["flops"]),
            f"{done.num_rows} of {rows.num_rows}",
            percent(_mean(done["test_accuracy"].to_pylist())),
            *(f"{count} of {done.num_rows}" for count in reached),
        )
    console.print(table)


def _first(column: pa.ChunkedArray) -> str:
    return f"{column[0].as_py():,}" if len(column) else "–"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
