"""Two processes that train one run give the numbers that one process gives with the same batches."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from adaptconv_cli.main import main

from lit_adaptconv.train.result import RunResult

from .conftest import FAST, command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="gloo's processes are started as on Linux and macOS"),
]
DATA = ["--data.val_size", "217", "--data.image_size", "12"]  # leaves 1,220 images to train with: none is taken twice
ONE = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
QUIET = FAST[2:]


def run(folder: Path, *args: str) -> str:
    """Run the command – in this process where it is the only one – and return what it printed, if it isn't."""
    args = (*args, "--trainer.accelerator", "cpu")
    if {*ONE} <= {*args}:
        assert main([*args]) == 0
        os.environ.pop("PL_GLOBAL_SEED", None)
        return ""
    process = command(folder, *args)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def result(folder: Path, name: str) -> RunResult:
    return RunResult.read(folder / "runs" / name / "1" / "result.json")


def train(folder: Path, name: str, *options: str) -> RunResult:
    run(folder, "fit", *FAST, *DATA, "--run.name", name, "--run.id", "1", *options)
    return result(folder, name)


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = folder / "runs" / name / "1" / "checkpoints" / "last.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def metrics(folder: Path, name: str) -> pd.DataFrame:
    read = pd.read_csv(folder / "runs" / name / "1" / "metrics.csv")
    return read[[column for column in read if "seconds" not in column]]


def test_two_processes_give_the_numbers_of_one(folder: Path) -> None:
    options = ["--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "1", "--convergence.targets", "[0.3,0.6]"]
    one = train(folder, "one", *options, "--data.batch_size", "128", *ONE)
    two = train(folder, "two", *options, "--data.batch_size", "64", *TWO)
    assert (two.steps, two.epochs, two.status) == (one.steps, one.epochs, "done")
    for a, b in zip(one.curve, two.curve, strict=True):
        assert (b.step, b.epoch, b.flops) == (a.step, a.epoch, a.flops)
        assert b.value == pytest.approx(a.value, abs=1.5 / 217)
        assert b.loss == pytest.approx(a.loss, rel=1e-3)
    assert [reached.steps for reached in two.convergence] == [reached.steps for reached in one.convergence]
    logged, expected = metrics(folder, "two"), metrics(folder, "one")
    assert list(logged) == list(expected)
    assert np.allclose(logged, expected, rtol=5e-3, atol=5e-3, equal_nan=True)
    for name, value in weights(folder, "one").items():
        assert torch.allclose(weights(folder, "two")[name], value, rtol=1e-2, atol=1e-3), name


def test_two_processes_train_one_run_and_predict_every_image_in_its_place(folder: Path) -> None:
    out = run(folder, "fit", *FAST, *TWO, "--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1")
    made = result(folder, "a")
    assert made.status == "done"
    # 1,221 images, one twice: both have as many
    assert made.curve[-1].flops == made.training_flops_per_sample * 1222
    assert made.steps == 5  # of 2 × 128 images
    assert out.count("Test accuracy") == 1
    checkpoint = ["--ckpt_path", "runs/a/1/checkpoints/last.ckpt"]
    run(folder, "predict", *QUIET, *checkpoint, "--output", "one.csv", *ONE)
    run(folder, "predict", *QUIET, *checkpoint, "--output", "two.csv", *TWO)
    one, two = (pd.read_csv(folder / f"{name}.csv") for name in ("one", "two"))
    assert list(two["image"]) == list(one["image"]) == list(range(360))
    numbers = [column for column in one if column.startswith("probability")]
    assert np.allclose(two[numbers], one[numbers], atol=1e-5)


def test_two_processes_go_on_as_if_they_had_never_stopped(folder: Path) -> None:
    options = [*TWO, "--data.batch_size", "64", "--data.shift", "1", "--model.scheduler", "null"]
    train(folder, "whole", *options, "--trainer.max_epochs", "2")
    train(folder, "cut", *options, "--trainer.max_epochs", "1", "--run.test", "false")
    run(folder, "fit", "--ckpt_path", "runs/cut/1/checkpoints/last.ckpt", "--trainer.max_epochs", "2")
    for name, value in weights(folder, "whole").items():
        assert torch.equal(weights(folder, "cut")[name], value), name


def test_one_process_that_diverges_ends_all(folder: Path) -> None:
    args = ["fit", *FAST, *DATA, *TWO, "--trainer.accelerator", "cpu", "--model.optimizer.lr", "1e30"]
    process = command(folder, *args, "--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "try a lower learning rate" in err
