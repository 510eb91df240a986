"""A killed run goes on where it stopped and ends with the same numbers, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.main import main
from training import same_state

from benchmarks.kills import NETWORK
from lit_adaptconv.train.result import RunResult

from .conftest import FAST, command
from .test_fit import rows

EPOCHS = 4
LAST = "runs/b/1/checkpoints/last.ckpt"


def arguments(name: str) -> list[str]:
    return [
        *("fit", *FAST, "--run.name", name, "--run.id", "1", "--model.backbone", "dropping.Dropping"),
        *("--trainer.max_epochs", str(EPOCHS), "--trainer.val_check_interval", "0.5", "--data.shift", "2"),
    ]


@pytest.fixture
def network(folder: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> Iterator[Path]:
    # Unchecked: what checks shapes in this process draws from Python's random generator, which is compared too.
    (folder / "dropping.py").write_text(NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("dropping", None)


def wait_for(moment: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not moment():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def started() -> bool:
    """The folder stands, and training is about to begin."""
    return Path("runs/b/1/result.json").is_file()


def first_checkpoint() -> bool:
    return Path(LAST).is_file()


def evaluated_within_an_epoch() -> bool:
    """There was an evaluation after the checkpoint from which the run will continue."""
    if not first_checkpoint():
        return False
    written = torch.load(LAST, weights_only=True)["callbacks"]["ConvergenceCallback"]["curve"]
    return len(RunResult.read(Path("runs/b/1/result.json")).curve) > len(written)


def finished_training() -> bool:
    return RunResult.read(Path("runs/b/1/result.json")).epochs == EPOCHS


def kill(moment: Callable[[], object], *resume: str, run: Callable[[str], list[str]] = arguments) -> None:
    """Start or continue the run, and kill it at a moment, which must come before its end."""
    process = command(Path(), *run("b"), *resume)
    wait_for(moment, process)
    process.kill()
    process.communicate()
    assert process.returncode == (1 if os.name == "nt" else -signal.SIGKILL)


def without_clock(value: Any) -> Any:
    """A nested state without seconds, dates, and the names and paths of the run."""
    if isinstance(value, dict):
        skipped = ("seconds", "started", "git_commit", "path", "name", "BestCheckpoint", "LastCheckpoint")
        return {k: without_clock(v) for k, v in value.items() if not any(word in str(k) for word in skipped)}
    return [without_clock(v) for v in value] if isinstance(value, (list, tuple)) else value


def assert_same_end(one: Path, other: Path) -> None:
    for file in ("last.ckpt", "best.ckpt"):
        a, b = (torch.load(run / "checkpoints" / file, weights_only=True) for run in (one, other))
        assert {"state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops"} <= a.keys()
        for part in a:
            assert same_state(without_clock(a[part]), without_clock(b[part])), (file, part)
    assert rows(one) == rows(other)
    results = [without_clock(json.loads((run / "result.json").read_text())) for run in (one, other)]
    assert results[0] == results[1]
    assert {f.name for f in other.rglob("*")} == {f.name for f in one.rglob("*")}


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_and_within_an_epoch_ends_as_the_undisturbed_one(
    network: Path,
) -> None:
    assert main(arguments("a")) == 0
    kill(started)
    assert not Path(LAST).exists()
    kill(evaluated_within_an_epoch, "--ckpt_path", "last")
    assert main([*arguments("b"), "--ckpt_path", "last"]) == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))


@pytest.mark.slow
def test_a_run_killed_at_many_moments_ends_as_the_undisturbed_one(network: Path) -> None:
    assert main(arguments("a")) == 0
    kill(Path("runs/b/1").is_dir)  # its configuration may not be written yet
    resume = ["--ckpt_path", "last"]
    if not Path("runs/b/1/config.yaml").is_file():
        for half_written in Path("runs/b/1").glob(".*.tmp"):
            half_written.unlink()
        Path("runs/b/1").rmdir()
        resume = []
    kill(started, *resume)
    kill(started, "--ckpt_path", LAST)  # by the path of a checkpoint that is not written yet
    kill(first_checkpoint, "--ckpt_path", "last")
    best = Path(LAST).with_name("best.ckpt").stat().st_mtime_ns
    kill(lambda: Path(LAST).with_name("best.ckpt").stat().st_mtime_ns != best, "--ckpt_path", LAST)
    kill(evaluated_within_an_epoch, "--ckpt_path", LAST)
    kill(finished_training, "--ckpt_path", "last")
    kill(finished_training, "--ckpt_path", "last")
    assert main([*arguments("b"), "--ckpt_path", LAST]) == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
)
def test_interrupted_it_says_so_and_can_go_on(network: Path, sent: signal.Signals, status: int) -> None:
    process = command(network, *arguments("b"))
    wait_for(first_checkpoint, process)
    process.send_signal(sent)
    _, err = process.communicate()
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert RunResult.read(Path("runs/b/1/result.json")).status == "interrupted"
    assert main(["fit", "--ckpt_path", LAST]) == 0  # with the configuration of the run
    assert main(arguments("a")) == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))


def test_what_a_killed_writer_left_is_removed(network: Path) -> None:
    assert main([*arguments("b"), "--trainer.limit_train_batches", "2"]) == 0
    for file in ("runs/b/1/.metrics.csv.1.tmp", "runs/b/1/checkpoints/.last.ckpt.1.tmp"):
        Path(file).write_text("half a fi")
    assert main([*arguments("b"), "--trainer.limit_train_batches", "2", "--ckpt_path", "last"]) == 0
    assert not list(Path("runs").rglob("*.tmp"))


@pytest.mark.slow
def test_last_is_the_newest_run_of_a_name_or_of_an_id(network: Path) -> None:
    short = ["--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1", "--trainer.val_check_interval", "1.0"]
    for name, id in (("x", "1"), ("x", "2"), ("y", "3")):
        assert main([*arguments(name), "--run.id", id, *short]) == 0
    for options, folder in ((["--run.name", "x"], "x/2"), (["--run.id", "1"], "x/1"), ([], "y/3")):
        marks = {run: (run / "config.yaml").stat().st_mtime_ns for run in Path("runs").glob("*/*")}
        assert main(["fit", *options, "--ckpt_path", "last"]) == 0
        now = {run: (run / "config.yaml").stat().st_mtime_ns for run in Path("runs").glob("*/*")}
        assert [run for run in now if now[run] != marks[run]] == [Path("runs") / folder]
        os.utime(Path("runs") / folder / "config.yaml", ns=(marks[Path("runs") / folder],) * 2)
        assert yaml.safe_load((Path("runs") / folder / "config.yaml").read_text())["run"]["id"] is None


def test_a_checkpoint_outside_of_a_run_starts_a_new_one(network: Path) -> None:
    short = ["--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1"]
    assert main([*arguments("b"), *short, "--trainer.val_check_interval", "1.0"]) == 0
    Path(LAST).rename("copy.ckpt")
    assert main([*arguments("c"), *short, "--trainer.val_check_interval", "1.0", "--ckpt_path", "copy.ckpt"]) == 0
    assert RunResult.read(Path("runs/c/1/result.json")).status == "done"


def test_a_longer_training_cannot_continue_a_finished_schedule(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments("b"), "--trainer.limit_train_batches", "2"]) == 0
    before = Path("runs/b/1/result.json").read_text()
    assert '"done"' in before
    capsys.readouterr()
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", str(EPOCHS + 1)]) == 1
    assert "the learning-rate schedule ends after 8 steps, but the training takes 10" in capsys.readouterr().err
