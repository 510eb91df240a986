"""`adaptconv fit` on sets that `datasets` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_adaptconv.train.result import RunResult

from .conftest import Command

datasets = pytest.importorskip("datasets")


@pytest.mark.parametrize("kind", ["standard", pytest.param("adaptive_low_rank", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("channels", "classes"), [(3, 10), pytest.param(1, 100, marks=pytest.mark.slow)])
def test_fit_trains_tests_and_continues(
    fit: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, channels: int, classes: int, kind: str
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    rng = np.random.default_rng(0)
    for part, each in (("train", 6), ("test", 2)):
        pixels = rng.integers(0, 256, (classes * each, 20, 20, channels), np.uint8)
        images = [Image.fromarray(image.squeeze()) for image in pixels]
        kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=classes)}
        content = {"image": images, "label": [i % classes for i in range(len(images))]}
        (folder / "set").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(content, datasets.Features(kinds)).to_parquet(folder / "set" / f"{part}.parquet")
    data = ["--data", "HuggingFace", "--data.path", "set", "--data.val_size", "0.2"]
    model = ["--model.backbone", "ConvNet", "--model.kind", kind, "--model.width", "0.25"]
    assert fit(*data, *model, "--run.name", "a", "--run.id", "1", "--trainer.max_epochs", "1") == 0
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert result.epochs == 1
    assert result.test_images is not None
    assert result.test_images.images == 2 * classes


def test_a_set_that_is_not_there_is_one_line(fit: Command, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--data", "HuggingFace", "--data.path", "some/animals") == 1
    assert "--data.path some/animals --data.download true` fetches it" in capsys.readouterr().err
