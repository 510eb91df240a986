"""Weights & Biases: the offline log, read back with wandb's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lit_adaptconv.result import RunResult

from .conftest import command

ARGUMENTS = [
    *("fit", "--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1", "--trainer.enable_progress_bar", "false"),
    *("--run.group", "sweep", "--run.job_type", "arm", "--model.budget", "5000"),
]


def inspect(log: Path) -> str:
    wandb = Path(sys.executable).parent / "wandb"
    program = [str(wandb)] if wandb.exists() else [sys.executable, "-m", "wandb"]
    read = subprocess.run([*program, "leet", "inspect", "--json", str(log)], capture_output=True, text=True, check=True)
    return read.stdout


def test_without_a_login_the_run_is_logged_offline_whole(folder: Path) -> None:
    process = command(folder, *ARGUMENTS)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "wandb sync" in out
    logs = list(folder.rglob("*.wandb"))
    assert len(logs) == 1
    text = inspect(logs[0])
    records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert records
    result = RunResult.read(folder / "runs/a/1/result.json")
    for expected in ("val/accuracy", "train/loss", "test/accuracy", "sweep", "arm", str(result.parameters)):
        assert expected in text, expected
    assert "class_path" in text  # the complete configuration


def test_disabled_it_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    process = command(folder, *ARGUMENTS)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert not list(folder.rglob("*.wandb"))


@pytest.mark.slow
def test_an_unreachable_server_costs_a_warning_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    process = command(folder, *ARGUMENTS)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert err.count("can't be reached") == 1
    assert "wandb sync" in out
    assert len(list(folder.rglob("*.wandb"))) >= 1
    assert RunResult.read(folder / "runs/a/1/result.json").status == "done"
