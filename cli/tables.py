"""The small tables that commands end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from rich.table import Table

from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.train.result import RunResult


def percent(value: float | None) -> str:
    """An accuracy as people read it."""
    return "–" if value is None else f"{100 * value:.2f} %"


def result_table(results: Sequence[RunResult]) -> Table:
    """One column a run: what it is, what it costs, what it reached, and how fast."""
    table = Table("", *(r.kind for r in results))
    for column in table.columns[1:]:
        column.justify = "right"

    def row(name: str, values: Sequence[str]) -> None:
        table.add_row(name, *values)

    row("Network", [f"{r.backbone} {'-'.join(map(str, r.widths))}" for r in results])
    row("Parameters", [f"{r.parameters:,}" for r in results])
    row("FLOPs an image", ["–" if r.flops is None else f"{r.flops:,}" for r in results])
    row("Epochs", [str(r.epochs) for r in results])
    row("Training", [f"{r.training_seconds:.1f} s" for r in results])
    row("Validation accuracy", [percent(r.val_accuracy) for r in results])
    row("Best validation accuracy", [percent(r.best_val_accuracy) for r in results])
    for target in sorted({c.target for r in results for c in r.convergence}):
        steps = [next((c.steps for c in r.convergence if c.target == target), None) for r in results]
        row(f"Steps to {100 * target:g} %", ["not reached" if s is None else f"{s:,}" for s in steps])
    table.add_section()
    row("Test accuracy", [percent(r.test_accuracy) for r in results])
    if any(r.status != "done" for r in results):
        row("Status", [r.status for r in results])
    return table


def stage_table(stage: str, model: pl.LightningModule, metrics: Sequence[Mapping[str, Any]]) -> Table:
    """The metrics of a `validate` or `test`."""
    table = Table("", str(getattr(model, "kind", "")), title=stage)
    table.columns[1].justify = "right"
    table.add_row("Network", type(getattr(model, "network", model)).__name__)
    table.add_row("Parameters", f"{count_parameters(model):,}")
    for name, value in (item for row in metrics for item in row.items()):
        table.add_row(name, percent(value) if name.endswith("accuracy") else f"{value:.4f}")
    return table
