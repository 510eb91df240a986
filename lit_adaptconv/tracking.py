"""Weights & Biases: a run of its own for every run, online where possible, offline where not, never in the way."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

INIT_TIMEOUT_SECONDS = 8.0


def wandb_logger(
    folder: Path,
    project: str,
    name: str,
    id: str,
    config: dict[str, Any],
    group: str | None = None,
    job_type: str | None = None,
    tags: list[str] | None = None,
    title: str | None = None,
) -> WandbLogger:
    """Start a Weights & Biases run and return Lightning's logger for it.

    `WANDB_MODE` is honoured. Without credentials the run is written offline; nothing is ever asked. If the server does
    not answer within eight seconds the run goes on offline, with a warning. `wandb_sync_hint` says how to send an
    offline run later.

    Args:
        folder: The run's folder; W&B's files go to `wandb/` in it.
        project: W&B project.
        name: Name of the run.
        id: Id of the run within the project; a resumed run has the same.
        config: The complete configuration; it is stored under the single key "config".
        group: Group of runs, such as a sweep.
        job_type: Role in the group, such as the arm.
        tags: Tags.
        title: Name that is shown; by default `name`.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0":
        return WandbLogger(project=project, save_dir=str(folder))
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_credentials() else "offline")
    arguments: dict[str, Any] = {
        "project": project,
        "name": title or name,
        "id": re.sub(r"[^A-Za-z0-9_-]", "-", f"{name}-{id}")[-120:],
        "dir": str(folder),
        "config": {"config": config},
        "group": group,
        "job_type": job_type,
        "tags": tags,
        "settings": wandb.Settings(silent=True, init_timeout=INIT_TIMEOUT_SECONDS),
    }
    folder.mkdir(parents=True, exist_ok=True)
    if mode in ("offline", "dryrun", "disabled"):
        run = wandb.init(**arguments, mode=mode)  # type: ignore[arg-type]
    else:
        try:
            run = wandb.init(**arguments, resume="allow")
        except (wandb.Error, OSError) as error:
            rank_zero_warn(f"Weights & Biases can't be reached ({_first_line(error)}); this run is logged offline.")
            run = wandb.init(**arguments, mode="offline")
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=run, save_dir=str(folder), project=project)


def wandb_sync_hint(logger: WandbLogger) -> str | None:
    """The command that sends an offline run to the server; None for any other run."""
    run = logger.experiment
    if not run.offline:
        return None
    return f"wandb sync {os.path.relpath(Path(run.dir).parent)}"


def _has_credentials() -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, OSError):
        return False


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
