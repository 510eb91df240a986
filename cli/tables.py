"""The small tables that commands end with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl
from rich.table import Table
from rich.text import Text

from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.measure.latency import shown
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CHECKPOINTS
from lit_adaptconv.verdict.budget_share import share_text, unused_note
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count
from lit_adaptconv.verdict.summaries import SummaryTable

from .fitted import text


def result_table(
    results: Sequence[RunResult], latencies: Mapping[str, Sequence[float | None]] = MappingProxyType({})
) -> Table:
    """One column a run: what it is, what it costs, what it reached, and how fast.

    Args:
        results: The runs.
        latencies: By the name of a runtime, the seconds of one image of each run.
    """
    table = _table(r.kind or r.model for r in results)
    monitored = [Metric(r.monitor, r.mode, r.monitor) for r in results]
    tested = [Metric(r.test_metric, r.mode, r.test_metric) for r in results]

    def row(name: str, values: Iterable[str]) -> None:
        table.add_row(*map(text, (name, *values)))

    if len(results) > 1:
        names = [r.name for r in results]
        row("Run", (r.name if names.count(r.name) == 1 else f"{r.name}/{r.id}" for r in results))
    row("Network", (f"{r.backbone or r.model} {'-'.join(map(str, r.widths))}".rstrip() for r in results))
    row("Parameters", (count(r.parameters) for r in results))
    if any(r.weight_bytes for r in results):
        row("Bytes of weights", (count(r.weight_bytes) for r in results))
    row("FLOPs an image", (count(r.flops) for r in results))
    if any(r.limits for r in results):
        row("Of its budget", (share_text(r.limits, r.sizes) for r in results))
    for runtime, seconds in latencies.items():
        if any(s is not None for s in seconds):
            row(f"Latency, {runtime}", (NONE if s is None else shown(s) for s in seconds))
    row("Epochs", (count(r.epochs) for r in results))
    if any(r.averaging for r in results):
        row("Weights", (f"averaged by {r.averaging}" if r.averaging else "of the last step" for r in results))
    row("Training", map(_training_time, results))
    for metric in dict.fromkeys(monitored):
        mine = [r if m == metric else None for r, m in zip(results, monitored, strict=True)]
        row(f"Validation {metric.name}", (metric.shown(r.val_value if r else None) for r in mine))
        row(f"Best validation {metric.name}", (metric.shown(r.best_val_value if r else None) for r in mine))
        for target in sorted({c.target for r in mine if r for c in r.convergence}, key=lambda t: metric.sign * t):
            steps = [next((c.steps for c in r.convergence if c.target == target), None) if r else None for r in mine]
            row(f"Steps to {metric.goal(target)}", ("not reached" if s is None else f"{s:,}" for s in steps))
    table.add_section()
    for metric in dict.fromkeys(tested):
        mine = [r if m == metric else None for r, m in zip(results, tested, strict=True)]
        row(f"Test {metric.name}", (metric.shown(r.test_value if r else None) for r in mine))
    if any(r.status != "done" for r in results):
        row("Status", (r.status for r in results))
    return table


def by_run(table: Table) -> SummaryTable:
    """The same with one row a run, for more runs than the screen has room for side by side."""
    names, *runs = [[str(cell) for cell in column.cells] for column in table.columns]
    rows = [(str(column.header), *cells) for column, cells in zip(table.columns[1:], runs, strict=True)]
    return SummaryTable("", ("Kind", *names), tuple(rows))


def result_note(results: Iterable[RunResult]) -> Text | None:
    """What is said below: runs whose network uses little of its budget."""
    note = unused_note((r.kind or r.model, r.limits, r.sizes) for r in results)
    return None if note is None else text(note)


def checkpoint_note(result: RunResult, last: bool | None, best: bool) -> Text | None:
    """What is said below the result of a training: which checkpoint each value belongs to.

    Args:
        result: The run's result.
        last: Whether `last.ckpt` has the network that was tested; None where that is not known.
        best: Whether `best.ckpt` has the network of the best evaluation.
    """
    monitored, tested = (Metric(name, result.mode, name).name for name in (result.monitor, result.test_metric))
    finished = [f"validation {monitored}"] * (result.val_value is not None)
    finished += [f"test {tested}"] * (result.test_value is not None)
    parts = []
    if last and finished:
        whose = "are those" if len(finished) > 1 else "is that"
        parts.append(f"{' and '.join(finished)} {whose} of {CHECKPOINTS['last'].as_posix()}")
    elif last is False and result.test_value is not None:
        parts.append(f"test {tested} is that of no checkpoint, for the network changed after the last was written")
    if best and result.best_val_value is not None:
        parts.append(f"best validation {monitored} is that of {CHECKPOINTS['best'].as_posix()}")
    if result.averaging and parts:
        parts.append(f"all are of the weights that {result.averaging} averaged")
    return text(". ".join(f"{part[0].upper()}{part[1:]}" for part in parts) + ".") if parts else None


def stage_table(stage: str, model: pl.LightningModule, metrics: Sequence[Mapping[str, Any]]) -> Table:
    """The metrics of a `validate` or `test`."""
    table = _table([getattr(model, "kind", type(model).__name__)], stage)
    table.add_row("Network", type(getattr(model, "network", model)).__name__)
    table.add_row("Parameters", f"{count_parameters(model):,}")
    for name, value in (item for row in metrics for item in row.items()):
        metric = Metric(name, "max", name)
        table.add_row(text(name), metric.shown(value) if metric.percent else f"{value:.4f}")
    return table


def _table(columns: Iterable[str], title: str | None = None) -> Table:
    table = Table("", title=title)
    for column in columns:
        table.add_column(text(column), justify="right")
    return table


def _training_time(result: RunResult) -> str:
    together = "" if result.stacked is None else f", {result.stacked} at once"
    return f"{result.training_seconds:.1f} s{together}"
