"""A start that fails leaves no trace: `last` and `best` mean the runs that were there before, as they were."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.train.loading import load_run
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import newest_run

from .conftest import FAST

OWN = """
import lightning.pytorch as pl
import torch
from torch import nn
from lit_adaptconv.models.backbones import Backbone


class Late(Backbone):
    '''Fails in some step of a training's start.'''

    def __init__(self, in_channels, num_classes, image_size, conv=nn.Conv2d, width=1.0, step="forward"):
        super().__init__()
        self.widths = (4,)
        if step == "constructor":
            raise RuntimeError("no such network")
        self.step, self.layers = step, nn.Sequential(conv(in_channels, 4, 3), nn.Flatten(), nn.LazyLinear(num_classes))
        self.layers(torch.zeros(1, in_channels, *image_size))

    def forward(self, images):
        if self.training and self.step == "forward":
            raise RuntimeError("two shapes do not fit")
        out = self.layers(images) * (float("nan") if self.step == "nan" else 1)
        if self.training and self.step == "backward":
            out.register_hook(self.fail)
        return out

    def fail(self, *_):
        raise RuntimeError("no gradient")


class Failing(pl.Callback):
    def __init__(self, at="setup"):
        setattr(self, at, self.fail)

    def fail(self, *_, **__):
        raise ValueError("a bad callback")
"""
SHORT = [
    *("--data.image_size", "12", "--trainer.limit_train_batches", "2", "--trainer.limit_test_batches", "1"),
    *("--trainer.limit_val_batches", "1", "--trainer.max_epochs", "1"),
]
LATE = ["--model.backbone", "starting.Late", "--model.backbone.step"]
BAD = ["--trainer.callbacks", "starting.Failing", "--trainer.callbacks.at"]
STARTS = {
    "learning rate": ["--model.optimizer.lr", "-1"],
    "data": ["--data", "ImageFolder", "--data.root", "nowhere"],
    "kind": ["--model.kind", "adaptve"],
    "option of the kind": ["--model.kind", "adaptive_low_rank", "--model.kind_options.rank", "0"],
    "budget": ["--model.budget", "3"],
    "precision": ["--trainer.precision", "no-such"],
    "constructor": [*LATE, "constructor"],
    "forward": [*LATE, "forward"],
    "backward": [*LATE, "backward"],
    **{f"callback at {at}": [*BAD, at] for at in ("setup", "on_fit_start", "on_train_start", "on_train_batch_start")},
}


def everything() -> dict[str, tuple[bytes, int]]:
    """The files of all runs: content, and time of change of those that tell which run is newest."""
    return {
        str(file): (file.read_bytes(), file.stat().st_mtime_ns if file.name == "config.yaml" else 0)
        for file in Path("runs").rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good") / "runs"
    for name in ("a", "b"):
        assert main(["fit", *FAST, *SHORT, "--run.root", str(root), "--run.name", name, "--run.id", "1"]) == 0
    for config in root.rglob("config.yaml"):  # as if they had been trained here
        content = yaml.safe_load(config.read_text())
        content["run"]["root"] = "runs"
        config.write_text(yaml.safe_dump(content))
        age = {"a": 10, "b": 20}[config.parents[1].name]
        os.utime(config, (1e9 - age, 1e9 - age))
    os.environ.pop("PL_GLOBAL_SEED", None)
    return root


@pytest.fixture
def runs(folder: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(good, "runs")
    Path("starting.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)


HOWS = ("new", "with an id", "another name", "continued")
QUICK = ("learning rate", "constructor", "callback at on_train_batch_start")
"""What is tried in every way, and about half of it by default; the others are, in turn, in one of them."""
PAIRS = [
    pytest.param(
        start,
        how,
        marks=() if start in QUICK or HOWS[number % len(HOWS)] == how else pytest.mark.slow,
        id=f"{start}-{how}",
    )
    for number, start in enumerate(STARTS)
    for how in HOWS
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("start", "how"), PAIRS)
def test_a_start_that_fails_leaves_every_run_as_it_was(
    runs: None, start: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, folders = everything(), sorted(Path("runs").rglob("*"))
    named = {
        "new": [*FAST, *SHORT, "--run.name", "a"],
        "with an id": [*FAST, *SHORT, "--run.name", "a", "--run.id", "2"],
        "another name": [*FAST, *SHORT],
        "continued": ["--ckpt_path", "last", "--trainer.max_epochs", "2", "--model.scheduler", "null"],
    }[how]
    assert main(["fit", *named, *STARTS[start]]) in (1, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert everything() == before
    assert [path for path in sorted(Path("runs").rglob("*")) if path.is_file() or path.parent.name == "a"] == [
        path for path in folders if path.is_file() or path.parent.name == "a"
    ]
    assert newest_run("runs", "a", None, "best", "last") == Path("runs/a/1")  # as `load_run` looks for the best
    last = load_run("runs/a", "last")
    assert (last.folder, last.result) == (Path("runs/a/1"), RunResult.read(Path("runs/a/1/result.json")))


def newest_failed() -> None:
    """What a start that failed left when it still left something, and what a run left that was killed early."""
    for id, status in (("8", "failed"), ("9", "running")):
        folder = Path("runs/a") / id
        folder.mkdir()
        config = yaml.safe_load(Path("runs/a/1/config.yaml").read_text())
        config["model"]["backbone"] = {"class_path": "gone.Network", "init_args": {}}
        config["data"]["init_args"]["image_size"] = 7
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        result = json.loads(Path("runs/a/1/result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**result, "id": id, "status": status, "curve": []}))


@pytest.mark.slow
def test_a_run_without_the_checkpoint_hides_none_that_has_it(runs: None, capsys: pytest.CaptureFixture[str]) -> None:
    newest_failed()
    quiet = ["--trainer.enable_progress_bar", "false"]
    for named in ([], ["--run.name", "a"]):
        for checkpoint in ("last", "best"):
            for command in (["test"], ["validate"], ["predict", "--output", "p.csv"]):
                assert main([*command, "--ckpt_path", checkpoint, *named, *quiet]) == 0, capsys.readouterr().err
    assert main(["export", "last", "--output", "network.onnx", "--seconds", "0.01", "--test_images", "5"]) == 0
    for checkpoint in ("last", "best"):
        assert load_run("runs/a", checkpoint).folder == Path("runs/a/1")  # type: ignore[arg-type]
    os.utime("runs/a/1/config.yaml", (1e9, 1e9))
    assert main(["fit", "--ckpt_path", "last"]) == 0
    assert Path("runs/a/1/config.yaml").stat().st_mtime > 1e9
    Path("runs/a/1/checkpoints/best.ckpt").unlink()
    assert load_run("runs/a").folder == Path("runs/a/1")  # of its last
    assert main(["test", "--ckpt_path", "best", *quiet]) == 0  # of the other run, which has one


def test_a_loss_that_is_not_finite_at_once_is_a_run(runs: None) -> None:
    assert main(["fit", *FAST, *SHORT, "--run.name", "a", "--run.id", "2", *LATE, "nan"]) == 1
    assert RunResult.read(Path("runs/a/2/result.json")).status == "diverged"
