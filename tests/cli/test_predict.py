from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adaptconv_cli.main import main

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
