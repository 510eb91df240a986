"""`adaptconv fit` on the sets of torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision_sets import make

from lit_adaptconv.train.result import RunResult

from .conftest import Command

SLOW = pytest.mark.slow
NAMES = [
    *("SVHN", "SEMEION"),
    *(pytest.param(name, marks=SLOW) for name in ("CIFAR10", "CIFAR100", "DTD", "EMNIST", "EuroSAT", "FER2013")),
    *(pytest.param(name, marks=SLOW) for name in ("FGVCAircraft", "GTSRB", "Imagenette", "KMNIST", "STL10", "USPS")),
]


@pytest.mark.parametrize("kind", ["standard", "adaptive_low_rank"])
@pytest.mark.parametrize("name", NAMES)
def test_fit_trains_and_tests_a_network_on_every_set(
    fit: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    make(folder, name, monkeypatch)
    data = ["--data", "Torchvision", "--data.name", name, "--data.root", ".", "--data.image_size", "20"]
    model = ["--model.backbone", "ConvNet", "--model.kind", kind, "--model.width", "0.25"]
    where = ["--run.name", "a", "--run.id", "1", "--trainer.max_epochs", "1", "--data.val_size", "0.2"]
    assert fit(*data, *model, *where) == 0
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert result.epochs == 1
    assert result.test_metric is not None


def test_a_set_that_is_not_there_or_unknown_is_one_line(
    fit: Command, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--data", "Torchvision", "--data.name", "SVHN") == 1
    assert "--data.download true` fetches it" in capsys.readouterr().err
    assert fit("--data", "Torchvision", "--data.name", "SVNH") == 1
    assert "known: Caltech101" in capsys.readouterr().err
