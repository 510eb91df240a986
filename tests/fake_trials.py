"""Trials that take no training: what an engine's workers run in tests. Their module is imported in the workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch


def act(config: dict[str, Any]) -> None:
    """Do what the config's `act` says, and leave a note in the trial's folder."""
    run = config["run"]
    folder = Path(run["root"]) / run["name"] / run["id"]
    todo = config["act"]
    if todo == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if todo == "raise":
        raise ValueError("as it was told")
    if todo == "wait":
        (folder / "waiting").touch()
        while True:
            time.sleep(0.05)
    if todo == "resume":
        assert config["ckpt_path"] is not None
        (folder / "resumed").write_text(Path(config["ckpt_path"]).read_text())
    (folder / "note").write_text(f"{os.getpid()} {torch.get_num_threads()} {os.environ.get('OMP_NUM_THREADS')}")
    print("said on standard output")
