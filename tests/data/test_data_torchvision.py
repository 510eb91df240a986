import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torchvision_sets import MAKERS, make

from lit_adaptconv.data import CIFAR10, MNIST, Torchvision
from lit_adaptconv.data.torchvision import NEEDED, SETS
from lit_adaptconv.errors import UserError

SHAPES = {  # channels, classes, images outside the test part, test images
    "Caltech101": (3, 4, 32, 8),
    "CIFAR10": (3, 10, 60, 20),
    "CIFAR100": (3, 100, 600, 200),
    "DTD": (3, 5, 40, 10),
    "EMNIST": (1, 47, 282, 94),
    "EuroSAT": (3, 10, 80, 20),
    "FER2013": (1, 7, 42, 14),
    "FGVCAircraft": (3, 100, 600, 200),
    "GTSRB": (3, 43, 258, 43),
    "Imagenette": (3, 10, 60, 20),
    "KMNIST": (1, 10, 60, 20),
    "MNIST": (1, 10, 60, 20),
    "Omniglot": (1, 6, 48, 12),
    "SEMEION": (1, 10, 80, 20),
    "STL10": (3, 10, 60, 20),
    "SVHN": (3, 10, 60, 20),
    "USPS": (1, 10, 60, 20),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", MAKERS)
def test_the_images_are_those_that_torchvision_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make(tmp_path, name, monkeypatch)
    data = Torchvision(name, str(tmp_path), image_size=24, val_size=0.2)
    data.setup()
    pool, test = data.load("train"), data.load("test")
    assert (data.in_channels, data.num_classes, len(pool.indices), len(test.indices)) == SHAPES[name]
    assert data.image_size == (24, 24)
    parts = SETS[name]
    known = [
        getattr(torchvision.datasets, name)(tmp_path, **NEEDED.get(name, {}), **given, **_no_download(name))
        for given in (*parts.train, *([] if parts.test is None else [parts.test]))
    ]
    found = torch.cat([split.labels for split in (pool, test)])
    assert sorted(found.tolist()) == sorted(label for part in known for label in _labels(part))  # none has gaps
    assert set(found.tolist()) == set(range(data.num_classes))
    seen = pool.source.images[pool.indices].double() / 255  # type: ignore[attr-defined]
    np.testing.assert_allclose(data.mean, seen.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.std, seen.std((0, 2, 3), correction=0), rtol=1e-6)


def _labels(part: Any) -> Iterator[int]:
    for image, label in part:
        image.close()  # some readers leave that to whoever asks
        yield int(label)


def _no_download(name: str) -> dict[str, bool]:
    return {"download": False} if name == "SEMEION" else {}


@pytest.mark.parametrize(("name", "own"), [("MNIST", MNIST), ("CIFAR10", CIFAR10)])
def test_a_set_with_a_module_of_its_own_has_the_same_images_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, own: type[MNIST]
) -> None:
    make(tmp_path, name, monkeypatch)
    for part in ("train", "test"):
        one, other = Torchvision(name, str(tmp_path)).load(part), own(str(tmp_path)).load(part)
        assert torch.equal(one.source.images, other.source.images)  # type: ignore[attr-defined]
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("name", ["Caltech101", "EuroSAT", "SEMEION"])
def test_a_fifth_is_the_test_part_whatever_the_seed_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make(tmp_path, name, monkeypatch)
    splits = []
    for seed in (0, 1):
        data = Torchvision(name, str(tmp_path), image_size=16, seed=seed)
        data.setup()
        splits.append(data.load("test").indices)
        assert set(splits[-1].tolist()).isdisjoint(data.load("train").indices.tolist())
    assert torch.equal(*splits)
    counts = data.load("test").labels.bincount()
    assert (counts == counts[0]).all()


def test_the_classes_have_torchvisions_names_or_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Caltech101", "Imagenette", "SVHN"):
        make(tmp_path, name, monkeypatch)
    names = {name: Torchvision(name, str(tmp_path), image_size=9).class_names for name in ("Caltech101", "SVHN")}
    assert names == {"Caltech101": [f"class{i}" for i in range(4)], "SVHN": [str(i) for i in range(10)]}
    assert Torchvision("Imagenette", str(tmp_path), image_size=9).class_names[0] == "tench, Tinca tinca"


@pytest.mark.parametrize("name", SETS)
def test_the_parts_are_arguments_that_torchvision_knows(name: str) -> None:
    known = getattr(torchvision.datasets, name)
    takes = {argument for each in known.__mro__ for argument in inspect.signature(each.__init__).parameters}
    for given in (*SETS[name].train, SETS[name].test or {}, NEEDED.get(name, {})):
        assert given.keys() <= takes


@pytest.mark.parametrize("name", SETS)
def test_missing_files_are_one_line_that_says_how_to_get_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        Torchvision(name, str(tmp_path)).setup()
    line = str(caught.value)
    assert "\n" not in line
    assert str(tmp_path) in line
    if name in ("FER2013", "ImageNet"):
        assert f"torchvision.datasets.{name} is documented" in line
    elif name != "PCAM":  # which may miss a library first
        assert f"--data.name {name} --data.root {tmp_path} --data.download true` fetches it" in line


def test_images_of_several_sizes_ask_for_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "GTSRB", monkeypatch)
    with pytest.raises(UserError, match=r"^GTSRB, image \d+: .* --data.image_size SIZE resizes them all$"):
        Torchvision("GTSRB", str(tmp_path)).setup()


def test_damaged_files_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("SVHN", "train_32x32.mat"), ("USPS", "usps.bz2"), ("EuroSAT", "eurosat/2750/class 3/4.jpg")):
        make(tmp_path, name, monkeypatch)
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content[: len(content) // 3])
        with pytest.raises(UserError, match=rf"^{name} ") as caught:
            Torchvision(name, str(tmp_path)).setup()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"name": "SVNH"}, "no classification set 'SVNH'; known: Caltech101, .* SVHN, USPS"),
        ({"name": "CelebA"}, "no classification set 'CelebA'"),
        ({"name": "SVHN", "image_size": 0}, "image_size must be at least 1"),
        ({"name": "SVHN", "in_channels": 2}, "in_channels must be 1"),
        ({"name": "SVHN", "options": {"split": "extra"}}, "options of SVHN cannot have 'split'"),
        ({"name": "SVHN", "options": {"splot": 1}}, "splot"),
        ({"name": "EMNIST", "options": {"split": "letter"}}, "letter"),
    ],
)
def test_a_bad_argument_is_one_line(tmp_path: Path, arguments: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        Torchvision(root=str(tmp_path), **arguments).setup()  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_grey_and_colour_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "SVHN", monkeypatch)
    grey = Torchvision("SVHN", str(tmp_path), in_channels=1)
    grey.setup()
    assert next(iter(grey.train_dataloader()))[0].shape[1:] == (1, 32, 32)
    assert len(grey.mean) == 1
