"""A trial that several devices train, in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from adaptconv_cli.main import main

from benchmarks.sweep_kill import difference
from lit_adaptconv.errors import DivergedError
from lit_adaptconv.sweep.engines import Job, Outcome
from lit_adaptconv.sweep.engines.worker import run_job
from lit_adaptconv.sweep.running import run_trial
from lit_adaptconv.sweep.store import read_results
from lit_adaptconv.train.beginning import MORE_PROCESSES
from lit_adaptconv.train.result import RunResult

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="gloo's processes are started as on Linux and macOS"),
]


def plan(**changes: Any) -> dict[str, Any]:
    content = {
        "name": "processes",
        # 1,220 images to train with: none is taken twice, and a batch of one process is two of two
        "data": {"class_path": "Digits", "init_args": {"image_size": 12, "batch_size": 128, "val_size": 217}},
        "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
        "arms": {"standard": {"kind": "standard"}},
        "seeds": 1,
        "targets": [0.2],
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
        "wandb": False,
    }
    return {**content, **changes}


def sweep(folder: Path, content: dict[str, Any], *args: str) -> int:
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(yaml.safe_dump(content))
    return main(["sweep", "--config", str(file), "--output", str(folder), "--workers", "1", "--cpus", "1", *args])


def results(folder: Path) -> list[RunResult]:
    return [RunResult.read(file) for file in folder.glob("trials/*/result.json")]


def test_two_processes_of_a_trial_give_the_result_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MORE_PROCESSES, "1")
    assert sweep(tmp_path / "one", plan()) == 0
    two = plan(trainer={**plan()["trainer"], "devices": 2, "strategy": "ddp"})
    two["data"]["init_args"]["batch_size"] = 64
    assert sweep(tmp_path / "two", two) == 0
    (one,), (other,) = results(tmp_path / "one"), results(tmp_path / "two")
    assert (other.status, other.steps, other.epochs) == ("done", one.steps, one.epochs)
    for mine, theirs in zip(other.curve, one.curve, strict=True):
        assert (mine.step, mine.epoch, mine.flops) == (theirs.step, theirs.epoch, theirs.flops)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-2)
        assert mine.value == pytest.approx(theirs.value, abs=3 / 217)
    assert one.test_images is not None
    assert other.test_images is not None
    assert (other.test_images.images, other.test_images.labels) == (360, one.test_images.labels)
    bits = np.unpackbits(np.frombuffer(other.test_images.bits, np.uint8))
    assert bits.mean() == pytest.approx(other.test_value, abs=1e-6)
    assert not [*(tmp_path / "two").glob("trials/*/checkpoints/best.ckpt")]


def test_a_command_gives_the_table_of_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep(tmp_path / "worker", plan(seeds=2)) == 0
    monkeypatch.setattr("lit_adaptconv.sweep.running.processes", lambda trainer, gpus: 2)
    assert sweep(tmp_path / "command", plan(seeds=2)) == 0
    assert difference(read_results(tmp_path / "worker"), read_results(tmp_path / "command")) == []


def trial(folder: Path, **changes: Any) -> Path:
    """The folder of a trial that has not begun."""
    made = folder / "sweep" / "trials" / "one"
    made.mkdir(parents=True)
    config = {
        "data": plan()["data"],
        "model": {"backbone": plan()["backbone"], **changes.get("model", {})},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False, **changes.get("trainer", {})},
        "run": {"wandb": False, "test": True},
    }
    (made / "config.yaml").write_text(yaml.safe_dump(config))
    return made


@pytest.fixture
def as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_adaptconv.sweep.running.processes", lambda trainer, gpus: 2)


@pytest.mark.usefixtures("as_a_command")
def test_how_a_command_ends_is_told_as_a_worker_tells_it(tmp_path: Path) -> None:
    high = {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e30}}, "scheduler": None}
    folder = trial(tmp_path / "diverged", model=high)
    outcome = run_job(Job("one", folder, False), run_trial)
    assert outcome.status == "diverged", (folder / "log.txt").read_text()
    assert (outcome.reason or "").startswith(f"{DivergedError.__name__}: the ")
    outcome = run_job(Job("one", trial(tmp_path / "bad", trainer={"gradient_clip_val": -1}), False), run_trial)
    assert outcome.status == "failed"
    assert "gradient_clip_val must be at least 0" in (outcome.reason or "")


@pytest.mark.usefixtures("as_a_command")
def test_an_interruption_reaches_the_command(tmp_path: Path) -> None:
    folder = trial(tmp_path, trainer={"max_epochs": 10000})
    begun = folder / "checkpoints" / "last.ckpt"

    def interrupt() -> None:
        end = time.monotonic() + 120
        while not begun.exists() and time.monotonic() < end:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    outcome = run_job(Job("one", folder, False), run_trial)
    assert outcome == Outcome("interrupted", "interrupted by the user", outcome.seconds)
    assert RunResult.read(folder / "result.json").status == "interrupted"
