"""Weights & Biases: a run of its own for every run, online where possible, offline where not, never in the way."""

from __future__ import annotations

import http.client
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.result import RunResult

START_SECONDS = 10.0
"""How long the start of a run may take where the server does not answer."""
PROBE_SECONDS = 3.0
"""Of these, how long the server may take to answer at all."""
OFFLINE_SECONDS = 5.5
"""And how long it takes to end a start that failed, and to start again offline."""
OFFLINE_MODES = ("offline", "dryrun", "disabled")
MODES = ("online", "shared", *OFFLINE_MODES)


def wandb_logger(
    folder: Path,
    project: str,
    name: str,
    id: str,
    config: dict[str, Any],
    group: str | None = None,
    job_type: str | None = None,
    tags: list[str] | None = None,
    one_of_several: bool = False,
) -> WandbLogger:
    """Start a Weights & Biases run and return Lightning's logger for it.

    `WANDB_MODE` is honoured. Without credentials the run is written offline; nothing is ever asked. If the server does
    not answer the run goes on offline, with a warning, after at most about ten seconds; later runs of this process,
    and of its sweep, are offline from their start. `wandb_sync_hint` says how to send an offline run later.

    Args:
        folder: The run's folder; W&B's files go to `wandb/` in it.
        project: W&B project.
        name: Name that is shown.
        id: Id of the run within the project; a resumed run has the same.
        config: What is stored as the run's configuration, see `wandb_columns`.
        group: Group of runs, such as a sweep.
        job_type: Role in the group, such as the arm.
        tags: Tags.
        one_of_several: Whether other runs are under way in this process.

    Raises:
        UserError: `WANDB_MODE` is none of W&B's modes.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0":
        return WandbLogger(project=project, save_dir=str(folder))
    begin = time.monotonic()
    wanted = os.environ.get("WANDB_MODE")
    if wanted and wanted not in MODES:
        raise UserError(f"WANDB_MODE must be one of {', '.join(MODES)}, got {wanted!r}")
    mode = _mode()
    if wanted in ("online", "shared") and mode == "offline" and not has_given_up():
        rank_zero_warn(f"WANDB_MODE is {wanted}, but there is no login (`wandb login`); this run is logged offline.")
    if mode not in OFFLINE_MODES and (reason := unreachable()) is not None:
        if reason:
            rank_zero_warn(f"{reason}; this run is logged offline.")
        mode = "offline"
    settings = wandb.Settings(silent=True, reinit="create_new" if one_of_several else "default")
    arguments: dict[str, Any] = {
        "project": project,
        "name": name,
        "id": re.sub(r"[^A-Za-z0-9_-]", "-", id)[-120:],
        "dir": str(folder),
        "config": config,
        "group": group,
        "job_type": job_type,
        "tags": tags,
        "settings": settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    if mode in OFFLINE_MODES:
        run = wandb.init(**arguments, mode=mode)  # type: ignore[arg-type]
    else:
        left = max(1.0, START_SECONDS - OFFLINE_SECONDS - (time.monotonic() - begin))
        try:
            online = {**arguments, "settings": settings.model_copy(update={"init_timeout": left})}
            run = wandb.init(**online, resume="allow")
        except (wandb.Error, OSError) as error:
            rank_zero_warn(f"Weights & Biases can't be reached ({_first_line(error)}); this run is logged offline.")
            give_up()
            wandb.teardown()  # its service still holds the id of the run that failed
            run = wandb.init(**arguments, mode="offline")
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=run, save_dir=str(folder), project=project)


_given_up: set[str] = set()
"""Servers that did not answer."""


def give_up() -> None:
    """Let all further runs of this process be offline, as long as the server is the same."""
    _given_up.add(_server())


def has_given_up() -> bool:
    """Whether the server did not answer before."""
    return _server() in _given_up


def unreachable() -> str | None:
    """Why the server cannot be reached, in one line: it does not answer a request for any page within three seconds.

    Returns:
        None if it can be reached, or is not needed; empty if that was said before.
    """
    if os.environ.get("WANDB_MODE") in OFFLINE_MODES:
        return None
    if has_given_up():
        return ""
    if _mode() in OFFLINE_MODES:
        return None
    answers: list[str | None] = []
    asking = threading.Thread(target=lambda: answers.append(_ask(_server())), daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    reason = answers[0] if answers else f"no answer within {PROBE_SECONDS:g} seconds"
    if reason is None:
        return None
    give_up()
    return f"Weights & Biases can't be reached ({reason})"


def _ask(server: str) -> str | None:
    try:
        with urllib.request.urlopen(server, timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError:  # an answer, too
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _first_line(error)


def _server() -> str:
    given = os.environ.get("WANDB_BASE_URL")  # wandb reads it once a process
    return given or str(wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url)


def _mode() -> str:
    """What a run is to be: online where nothing else is wished and there is a login."""
    wanted = os.environ.get("WANDB_MODE")
    if wanted in OFFLINE_MODES:
        return str(wanted)
    return "online" if not has_given_up() and _has_credentials() else "offline"


def finish_failed(kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
    """Mark the Weights & Biases run under way as failed, where an error ends the training before it could."""
    if error is not None and wandb.run is not None:
        wandb.finish(exit_code=1)


def wandb_columns(result: RunResult, config: Mapping[str, Any]) -> dict[str, Any]:
    """What people group and filter runs by, as columns of their own.

    Args:
        result: The run as it is planned.
        config: Its complete configuration, which is stored beside them under the key "config".
    """
    names = ["data", "model", "backbone", "kind", "kind_options", "budget", "widths", "parameters", "flops", "seed"]
    names += [name for name in ("budget_flops", "budget_bytes") if getattr(result, name) is not None]
    columns = {name: getattr(result, name) for name in names}
    return {**columns, "learning_rate": _learning_rate(config), "config": dict(config)}


def _learning_rate(config: Mapping[str, Any]) -> float | None:
    """The rate of the optimizer that the model or the command line names, if it has one of a usual name."""
    model = config.get("model") or {}
    places = [model.get("optimizer"), config.get("optimizer"), model]
    for place in places:
        arguments = (place or {}).get("init_args") or place or {}
        for name in ("lr", "learning_rate"):
            if isinstance(arguments.get(name), (int, float)):
                return float(arguments[name])
    return None


def wandb_sync_hint(logger: WandbLogger) -> str | None:
    """The command that sends an offline run to the server; None for any other run."""
    run = logger.experiment
    if not run.offline:
        return None
    return f"wandb sync {os.path.relpath(Path(run.dir).parent)}"


def _has_credentials() -> bool:
    wandb.setup(settings=wandb.Settings(silent=True))
    try:
        return bool(wandb.login(prompt=False, verify=False))  # whether the server accepts them, init will find out
    except (wandb.Error, OSError, ValueError):  # a key of the wrong form is a ValueError
        return False


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
