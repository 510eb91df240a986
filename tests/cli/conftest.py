"""The command, called in the test's process, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from adaptconv_cli.main import main

FAST = ["--run.wandb", "false", "--trainer.enable_progress_bar", "false"]
Command = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, with no login of Weights & Biases's and no seed left by another test."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path_factory.mktemp("home")  # elsewhere: libraries write there when they please
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "PL_GLOBAL_SEED"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    os.environ.pop("PL_GLOBAL_SEED", None)


@pytest.fixture
def fit(folder: Path) -> Command:
    """`adaptconv fit` on the digits, without tracking."""
    return lambda *args: main(["fit", *FAST, *args])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a short training of an adaptive LeNet-5 on digits of 16×16 pixels."""
    root = tmp_path_factory.mktemp("trained")
    network = ["--model.kind", "adaptive", "--model.kind_options.generator_size", "3", "--model.width", "0.5"]
    run = ["--run.root", str(root), "--run.name", "a", "--run.id", "1", "--data.image_size", "16"]
    assert main(["fit", *FAST, *network, *run, "--trainer.max_epochs", "2", "--data.batch_size", "32"]) == 0
    os.environ.pop("PL_GLOBAL_SEED", None)
    return root / "a" / "1" / "checkpoints" / "last.ckpt"


def command(folder: Path, *args: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "adaptconv_cli.main", *args],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},  # as many as in the test's process
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if os.name == "nt" else _heed_interrupts,
    )


def _heed_interrupts() -> None:
    """Heed SIGINT as in a terminal: what a shell starts in the background ignores it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
