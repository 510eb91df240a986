from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from adaptconv_cli.main import main
from PIL import Image

from lit_adaptconv.data import Digits, ImageFolder
from lit_adaptconv.train.loading import load_run
from lit_adaptconv.train.result import RunResult

from .conftest import FAST, Command


@pytest.mark.parametrize("suffix", [pytest.param("csv", marks=pytest.mark.slow), "parquet"])
def test_predictions_agree_with_the_test_accuracy(fit: Command, suffix: str) -> None:
    assert fit("--trainer.max_epochs", "2", "--run.name", "a", "--run.id", "1") == 0
    assert main(["predict", "--ckpt_path", "last", "--output", f"p.{suffix}", *FAST[2:]]) == 0
    table = pd.read_csv(f"p.{suffix}") if suffix == "csv" else pd.read_parquet(f"p.{suffix}")
    data = Digits()
    data.setup("test")
    labels = np.concatenate([batch[1].numpy() for batch in data.test_dataloader()])
    assert list(table.columns) == ["image", "label", *(f"probability_{i}" for i in range(10))]
    np.testing.assert_allclose(table.iloc[:, 2:].sum(axis=1), 1, atol=1e-5)
    accuracy = (table["label"].astype(int).to_numpy() == labels).mean()
    assert accuracy == pytest.approx(RunResult.read(Path("runs/a/1/result.json")).test_value, abs=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name of a file is text")
@pytest.mark.parametrize("suffix", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_names_that_are_no_text_are_predicted(
    fit: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for number, name in enumerate((b"caf\xe9", b"\xff", b"=1", b"plain")):
        (folder / "photos" / os.fsdecode(name)).mkdir(parents=True)
        for image in range(4):
            pixels = np.random.default_rng(10 * number + image).integers(0, 256, (9, 9), np.uint8)
            path = folder / "photos" / os.fsdecode(name) / f"{image}{os.fsdecode(name)}.png"
            with path.open("wb") as file:
                Image.fromarray(pixels).save(file, "png")
    network = ["--model.backbone", "ConvNet", "--model.backbone.channels", "[2]", "--model.backbone.pool_after", "[]"]
    assert fit("--data", "ImageFolder", "--data.root", "photos", *network, "--trainer.max_epochs", "1") == 0
    assert main(["predict", "--ckpt_path", "last", "--output", f"p.{suffix}", *FAST[2:]]) == 0
    table = pd.read_csv("p.csv") if suffix == "csv" else pd.read_parquet("p.parquet")
    formula = "'=1" if suffix == "csv" else "=1"
    assert set(table["label"]) <= {r"caf\udce9", r"\udcff", formula, "plain"}
    assert [name for name in table.columns if "udc" in name] == [r"probability_caf\udce9", r"probability_\udcff"]


def test_an_error_sends_nothing_that_a_terminal_obeys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["fit", "--data.root", "a\x1b[31mb"], ["\x1b]0;title\x07"], ["compare", "x\x9b1m", "\u202ey"]):
        assert main(words) != 0
        assert not set(capsys.readouterr().err) & {*"\x1b\x9b\x07\u202e"}


@pytest.mark.slow
def test_new_photos_without_class_folders_are_predicted_as_in_training(
    fit: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    random = np.random.default_rng(0)

    def photo(path: Path, height: int, width: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)

    for name in ("cat", "dog"):
        for number in range(8):
            photo(folder / "photos" / name / f"{number}.png", 12, 12)
    for number in range(3):
        photo(folder / "new_photos" / f"{number}.jpg", 20 + number, 16)
    photo(folder / "one" / "alone.png", 9, 30)
    network = ["--model.backbone", "ConvNet", "--model.backbone.channels", "[2]", "--model.backbone.pool_after", "[]"]
    data = ["--data", "ImageFolder", "--data.root", "photos", "--data.image_size", "9", "--data.flip", "true"]
    assert fit(*data, *network, "--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1") == 0
    tables = []
    for options in (
        ["best", "--data", "ImageFolder", "--data.root", "new_photos"],
        ["best", "--run.name", "a", "--data.root", "new_photos"],
        ["runs/a/1/checkpoints/best.ckpt", "--data.root", "new_photos"],
        ["best", "--data.root", "one"],
    ):
        assert main(["predict", "--ckpt_path", *options, "--output", "p.csv", *FAST[2:]]) == 0
        tables.append(pd.read_csv("p.csv"))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert list(tables[0].columns) == ["image", "label", "probability_cat", "probability_dog"]
    assert list(tables[0]["image"]) == ["0.jpg", "1.jpg", "2.jpg"]
    assert list(tables[3]["image"]) == ["alone.png"]
    run = load_run("runs/a")
    data_module = ImageFolder(str(folder / "new_photos"), image_size=9, class_names=["cat", "dog"])
    assert isinstance(run.data, ImageFolder)
    run.data.setup()
    data_module.load_state_dict(run.data.state_dict())
    data_module.setup("predict")
    (batch,) = data_module.predict_dataloader()
    with torch.no_grad():
        expected = run.module(batch[0]).softmax(1)
    np.testing.assert_allclose(tables[0].iloc[:, 2:], expected, atol=1e-5)
