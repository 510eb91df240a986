"""One trial of a sweep, in a warm process: an ordinary `adaptconv fit` with the config in the trial's folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

import wandb
import yaml

from lit_adaptconv.train.quiet import quieten
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
