"""A sweep's summary as a Weights & Biases run of its own: its tables, its sentences, its figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import plotly.graph_objects as go
import pyarrow as pa
import wandb

from lit_adaptconv.sweep.folder import Sweep
from lit_adaptconv.sweep.store import RESULTS, readable
from lit_adaptconv.train.tracking import wandb_logger, wandb_sync_hint
from lit_adaptconv.verdict.verdict import Verdict


def log_summary(
    folder: Path,
    project: str,
    tags: list[str],
    sweep: Sweep,
    results: pa.Table,
    verdict: Verdict,
    figures: Mapping[str, go.Figure],
) -> str | None:
    """Log the summary run of a sweep (group = the sweep's name, job type "summary").

    Args:
        folder: The sweep's folder.
        project: W&B project.
        tags: W&B tags.
        sweep: The sweep.
        results: Its results, one row per trial.
        verdict: What they show.
        figures: The figures of its report, by name.

    Returns:
        The command that sends it to the server, if it was logged offline.
    """
    config = {"primary_arm": sweep.primary_arm, "targets": list(sweep.targets), "trials": sweep.expected}
    config |= {"monitor": sweep.metric.monitor, "mode": sweep.metric.mode, "test_metric": sweep.metric.test_metric}
    logger = wandb_logger(
        folder, project, f"{sweep.name} summary", f"{sweep.uid}-summary", config, sweep.name, "summary", tags
    )
    run = logger.experiment
    shown = readable(results)
    columns: list[str | int] = [*sweep.metric.headings(shown.column_names)]
    run.log({"results": wandb.Table(columns=columns, data=_rows(shown))})
    for table in verdict.tables():
        run.log({_key(table.title): wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows])})
    run.log({f"figures/{name}": wandb.Plotly(figure) for name, figure in figures.items()})
    run.summary["verdict"] = "\n".join(verdict.sentences)
    artifact = wandb.Artifact(f"{_key(sweep.name)}-results", type="results")
    artifact.add_file(str(folder / RESULTS))
    run.log_artifact(artifact)
    hint = wandb_sync_hint(logger)
    run.finish()
    return hint


def _rows(table: pa.Table) -> list[list[object]]:
    columns: Iterable[list[object]] = (column.to_pylist() for column in table.columns)
    return [list(row) for row in zip(*columns, strict=True)]


def _key(title: str) -> str:
    """A title as the name of a metric or an artifact."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in title)
