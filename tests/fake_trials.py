"""Trials that take no training: what an engine's workers run in tests. Their module is imported in the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from lit_adaptconv.sweep.engines import Job


def job(root: Path, id: str, todo: str, resume: bool = False) -> Job:
    """A job that does what it is told, in a folder as the driver leaves it."""
    folder = root / "trials" / id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(todo)
    return Job(id, folder, resume)


def act(folder: Path) -> None:
    """Do what the config says, and leave a note in the trial's folder."""
    todo = (folder / "config.yaml").read_text()
    if todo == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if todo == "raise":
        raise ValueError("as it was told")
    if todo == "wait":
        (folder / "waiting").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)
    if todo == "gpus":
        (folder / "gpus").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    if todo == "start":
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
            (folder / "started").write_text(f"{os.getpid()} {child.pid}")
    if todo == "resume":
        (folder / "resumed").write_text((folder / "checkpoints" / "last.ckpt").read_text())
    (folder / "note").write_text(f"{os.getpid()} {torch.get_num_threads()} {os.environ.get('OMP_NUM_THREADS')}")
    print("said on standard output")
