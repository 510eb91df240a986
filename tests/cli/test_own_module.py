"""`adaptconv fit` and what follows it, for a LightningModule and a data module of someone else's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from adaptconv_cli.main import main
from own_package import Blobs, Segmenter

from lit_adaptconv.layers.low_rank import LowRankAdaptiveConv2d
from lit_adaptconv.train.convert_callback import ConvertConvolutions
from lit_adaptconv.train.loading import load_run
from lit_adaptconv.train.result import RunResult

OWN = ["--model", "own_package.Segmenter", "--data", "own_package.Blobs"]
WATCHED = ["--convergence.monitor", "val/share", "--convergence.targets", "[0.5,0.9]"]
pytestmark = [
    pytest.mark.usefixtures("folder"),
    pytest.mark.filterwarnings("ignore:a DataLoader cannot be continued"),
    pytest.mark.filterwarnings("default:::lightning"),
]
Fit = Callable[..., int]


def train(fit: Fit, *options: str, name: str = "own") -> RunResult:
    run = ["--run.name", name, "--run.id", "1", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"]
    assert fit(*OWN, *WATCHED, *run, *options) == 0
    return RunResult.read(Path(f"runs/{name}/1/result.json"))


def test_it_leaves_what_any_run_leaves(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    result = train(fit, "--model.hidden", "3")
    assert "Run: runs/own/1" in capsys.readouterr().out
    expected = sum(p.numel() for p in Segmenter(hidden=3).parameters())
    assert (result.status, result.model, result.data, result.parameters) == ("done", "Segmenter", "Blobs", expected)
    assert result.flops == 2 * 64 * (3 * 9 + 3) + 3 * 64
    assert [round(e.epoch) for e in result.curve] == [1, 2]
    training = 64 * (2 * 2 * 3 * 9 + 3 * 2 * 3 + 2 * 3)  # the first convolution's input needs no gradient
    assert result.curve[-1].flops == training * 2 * 64
    assert {path.name for path in Path("runs/own/1/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    config = yaml.safe_load(Path("runs/own/1/config.yaml").read_text())
    assert config["model"] == {"class_path": "own_package.Segmenter", "init_args": {"hidden": 3, "lr": 0.05}}


def test_a_run_is_repeated_from_its_folder_alone(fit: Fit) -> None:
    first = train(fit, "--model.hidden", "3")
    again = ["--config", "runs/own/1/config.yaml", "--run.name", "again", "--run.id", "1"]
    assert main(["fit", *again]) == 0
    assert [e.value for e in RunResult.read(Path("runs/again/1/result.json")).curve] == [e.value for e in first.curve]


def test_it_goes_on_after_an_epoch_as_if_it_had_never_stopped(fit: Fit) -> None:
    whole = train(fit, name="whole")
    train(fit, "--trainer.max_epochs", "1", name="cut")
    assert main(["fit", "--ckpt_path", "runs/cut/1/checkpoints/last.ckpt", "--trainer.max_epochs", "2"]) == 0
    cut = RunResult.read(Path("runs/cut/1/result.json"))
    assert [(e.step, e.value, e.loss) for e in cut.curve] == [(e.step, e.value, e.loss) for e in whole.curve]


def test_a_run_is_loaded_from_python(fit: Fit) -> None:
    result = train(fit)
    best, last = (load_run("runs/own", checkpoint=name) for name in ("best", "last"))  # type: ignore[arg-type]
    assert isinstance(last.module, Segmenter)
    assert isinstance(last.data, Blobs)
    assert not last.module.training
    assert last.result == result
    saved = torch.load("runs/own/1/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in last.module.state_dict().items())
    assert best.folder == Path("runs/own/1")


def test_it_is_tested_and_predicts(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    train(fit)
    capsys.readouterr()
    assert main(["test", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
    assert "test/share" in capsys.readouterr().out
    assert main(["predict", "--ckpt_path", "last", "--trainer.enable_progress_bar", "false"]) == 0
    rows = pd.read_csv("predictions.csv")
    assert list(rows.columns) == ["sample", "prediction"]
    run = load_run("runs/own", checkpoint="last")
    with torch.no_grad():
        expected = torch.cat([run.module.predict_step(tuple(b), 0) for b in Blobs().predict_dataloader()])
    assert rows["prediction"].to_numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert main(["profile", "--ckpt_path", "last", "--seconds", "0.01"]) == 0


def test_a_conversion_is_part_of_what_is_loaded(fit: Fit) -> None:
    path = f"{ConvertConvolutions.__module__}.{ConvertConvolutions.__name__}"
    train(fit, "--trainer.callbacks", path, "--trainer.callbacks.kind", "adaptive_low_rank")
    run = load_run("runs/own")
    assert isinstance(run.module, Segmenter)
    assert isinstance(run.module.net[0], LowRankAdaptiveConv2d)


@pytest.mark.parametrize(
    "callback",
    [
        ["EMAWeightAveraging"],
        ["ModelCheckpoint", "--trainer.callbacks.monitor", "val/share", "--trainer.callbacks.mode", "max"],
        ["TQDMProgressBar", "--trainer.enable_progress_bar", "true"],
    ],
    ids=lambda callback: callback[0],
)
def test_any_callback_of_lightnings_stands_beside_ours(callback: list[str], fit: Fit) -> None:
    assert train(fit, "--trainer.callbacks", *callback).status == "done"


def test_without_validation_there_is_a_last_checkpoint_and_no_curve(fit: Fit) -> None:
    result = train(fit, "--data", "own_package.Unvalidated")
    assert (result.status, result.curve) == ("done", [])
    assert {path.name for path in Path("runs/own/1/checkpoints").iterdir()} == {"last.ckpt"}


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--model", "own_package.NoModule"], 2, r"--model: own_package.NoModule is no LightningModule"),
        (["--data", "own_package.NoModule"], 2, r"--data: own_package.NoModule is no LightningDataModule"),
        (["--model", "own_package.Nothing"], 2, r"module 'own_package' has no attribute 'Nothing'$"),
        (["--model.hiden", "3"], 2, r"'hiden' is not accepted; did you mean 'hidden'"),
        (["--model.lr", "-1"], 1, r"Invalid learning rate: -1"),
        (["--convergence.monitor", "val/iou"], 1, r"'val/iou', which is not logged; logged: .*val/share"),
        (
            ["--data", "lightning.LightningDataModule"],
            1,
            r"LightningDataModule has no train_dataloader, which fit needs",
        ),
        (
            ["--model", "own_package.Untrainable"],
            1,
            r"the first training step: IndexError: no such pixel \(own_package.py",
        ),
    ],
)
def test_bad_input_ends_in_one_line(
    options: list[str], status: int, said: str, fit: Fit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*OWN, *WATCHED, "--trainer.max_epochs", "1", *options) == status
    err = capsys.readouterr().err.strip()
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("adaptconv: error: ")
    assert re.search(said, err), err
