from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adaptconv_cli.main import main
from PIL import Image

from lit_adaptconv.data import Digits
from lit_adaptconv.train.result import RunResult

from .conftest import FAST, Command


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
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
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
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
