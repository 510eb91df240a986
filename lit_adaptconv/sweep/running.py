"""One trial of a sweep: an ordinary `adaptconv fit` with the config in the trial's folder.

It runs in the worker itself, which is warm. Where several devices train one trial, it runs in a process of its own:
Lightning starts the others by calling the command of that process again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
import wandb
import yaml

from lit_adaptconv.errors import DivergedError, UserError
from lit_adaptconv.sweep.devices import processes
from lit_adaptconv.train.quiet import quieten
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG
from lit_adaptconv.train.tracking import give_up, has_given_up
from lit_adaptconv.train.training import Training

OFFLINE = ".offline"
"""File in a sweep's folder: its trials do not try to reach Weights & Biases."""


def run_trial(folder: Path) -> None:
    """Train and test, from the last checkpoint where there is one.

    Args:
        folder: The trial's folder.
    """
    quieten()
    offline = folder.parents[1] / OFFLINE
    if offline.exists():
        give_up()
    last = folder / CHECKPOINTS["last"]
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    try:
        if processes(config["trainer"], torch.cuda.device_count()) > 1:
            _run_command(folder, last)
        else:
            Training({"subcommand": "fit", "fit": {**config, "ckpt_path": str(last)}})
        for checkpoint in last.parent.glob("*.ckpt"):
            if checkpoint != last or not config["run"]["test"]:  # what was tested is the finished model
                checkpoint.unlink()
    finally:
        if wandb.run is not None:  # of a trial that failed: the next one must not log into its run
            wandb.finish(exit_code=1)
        if has_given_up():
            with contextlib.suppress(OSError):
                offline.touch()


def _run_command(folder: Path, last: Path) -> None:
    """Run the trial as a command, and raise what it would have raised here.

    Raises:
        DivergedError: Its loss was not finite.
        KeyboardInterrupt: It was interrupted.
        SystemExit: It ended with an error, which is the last line of its log.
    """
    arguments = ["fit", "--config", str(folder / CONFIG), "--ckpt_path", str(last)]
    found_where = os.pathsep.join(filter(None, sys.path))  # a class of the user's own, perhaps beside a script
    offline = {"WANDB_MODE": "offline"} if has_given_up() else {}
    command = subprocess.Popen(
        [sys.executable, "-m", "adaptconv_cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": found_where, **offline},
    )
    try:
        status = command.wait()
    except BaseException:
        command.send_signal(signal.SIGINT)  # it writes what it has
        command.wait()
        raise
    if status == 0:
        return
    with contextlib.suppress(UserError):  # it ended before it wrote a result
        result = RunResult.read(folder / "result.json")
        if result.status == "diverged":
            raise DivergedError((result.reason or "").removeprefix("DivergedError: "))
        if result.status == "interrupted":
            raise KeyboardInterrupt
    sys.exit(status)
