"""A sweep's summary as a Weights & Biases run of its own: its tables, its sentences, its figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import wandb

from lit_adaptconv.sweep.folder import Sweep
from lit_adaptconv.sweep.store import RESULTS
from lit_adaptconv.sweep.verdict import Verdict
from lit_adaptconv.tracking import wandb_logger, wandb_sync_hint


def log_summary(
    folder: Path, project: str, tags: list[str], sweep: Sweep, results: pa.Table, curves: pa.Table, verdict: Verdict
) -> str | None:
    """Log the summary run of a sweep (group = the sweep's name, job type "summary").

    Args:
        folder: The sweep's folder.
        project: W&B project.
        tags: W&B tags.
        sweep: The sweep.
        results: Its results, a row a trial.
        curves: Its learning curves, a row an evaluation.
        verdict: What they show.

    Returns:
        The command that sends it to the server, if it was logged offline.
    """
    config = {"primary_arm": sweep.primary_arm, "targets": list(sweep.targets), "trials": sweep.expected}
    logger = wandb_logger(
        folder, project, f"{sweep.name} summary", f"{sweep.uid}-summary", config, sweep.name, "summary", tags
    )
    run = logger.experiment
    run.log({"results": wandb.Table(columns=results.column_names, data=_rows(results))})
    for table in verdict.tables():
        run.log({_key(table.title): wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])})
    figures = {"test accuracy by parameters": _accuracy_figure(verdict)}
    for budget in sorted(set(curves["budget"].to_pylist()), key=lambda b: b or 0):
        at = "usual width" if budget is None else f"{budget} parameters"
        figures[f"learning curves, {at}"] = _curves_figure(curves, budget, at)
    run.log({f"figures/{name}": figure for name, figure in figures.items() if figure is not None})
    run.summary["verdict"] = "\n".join(verdict.sentences)
    artifact = wandb.Artifact(f"{_key(sweep.name)}-results", type="results")
    artifact.add_file(str(folder / RESULTS))
    run.log_artifact(artifact)
    hint = wandb_sync_hint(logger)
    run.finish()
    return hint


def _accuracy_figure(verdict: Verdict) -> wandb.plot.CustomChart | None:
    """Mean test accuracy over the number of parameters, a line an arm."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for each in verdict.accuracy:
        if each.mean is not None and each.at.parameters is not None:
            lines.setdefault(each.at.arm, []).append((each.at.parameters, each.mean))
    points = {arm: sorted(line) for arm, line in lines.items()}
    return _figure(points, "Test accuracy by parameters", "parameters")


def _curves_figure(curves: pa.Table, budget: int | None, at: str) -> wandb.plot.CustomChart | None:
    """Median validation accuracy over the seeds at every evaluation, a line an arm."""
    rows = curves.filter(pc.is_null(curves["budget"]) if budget is None else pc.equal(curves["budget"], budget))
    values: dict[str, dict[int, list[float]]] = {}
    for arm, step, accuracy in zip(*(rows[name].to_pylist() for name in ("arm", "step", "val_accuracy")), strict=True):
        values.setdefault(arm, {}).setdefault(step, []).append(accuracy)
    points = {arm: [(step, float(np.median(line[step]))) for step in sorted(line)] for arm, line in values.items()}
    return _figure(points, f"Validation accuracy, median over seeds, {at}", "step")


def _figure(points: dict[str, list[tuple[int, float]]], title: str, xname: str) -> wandb.plot.CustomChart | None:
    if not points:
        return None
    lines = list(points.values())
    return wandb.plot.line_series(
        xs=[[x for x, _ in line] for line in lines],
        ys=[[y for _, y in line] for line in lines],
        keys=list(points),
        title=title,
        xname=xname,
    )


def _rows(table: pa.Table) -> list[list[object]]:
    columns: Iterable[list[object]] = (column.to_pylist() for column in table.columns)
    return [list(row) for row in zip(*columns, strict=True)]


def _key(title: str) -> str:
    """A title as the name of a metric or an artifact."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in title)
