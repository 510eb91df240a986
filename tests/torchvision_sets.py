"""Tiny local copies of torchvision's data sets, in the formats that torchvision reads."""

from __future__ import annotations

import bz2
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from scipy.io import savemat

RNG = np.random.default_rng(0)
TRAIN, TEST = 6, 2
"""Images of each class in the two parts."""


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def labels(classes: int, each: int) -> np.ndarray:
    return np.tile(np.arange(classes), each)


def picture(path: Path, side: int | None = 32) -> None:
    """Write a picture; without a side, of any size."""
    height, width = (side, side) if side else (int(n) for n in RNG.integers(20, 40, 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(height, width, 3)).save(path)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    known = getattr(torchvision.datasets, name)
    folder = root / known.base_folder
    folder.mkdir()
    key, classes = ("labels", 10) if name == "CIFAR10" else ("fine_labels", 100)
    for attribute, each in (("train_list", TRAIN), ("test_list", TEST)):
        sums = []
        for file, _ in getattr(known, attribute)[:1]:
            batch = {"data": noise(classes * each, 3072), key: labels(classes, each).tolist()}
            (folder / file).write_bytes(pickle.dumps(batch))
            sums.append([file, md5(folder / file)])
        patch.setattr(known, attribute, sums)
    meta = folder / known.meta["filename"]
    meta.write_bytes(pickle.dumps({known.meta["key"]: [f"class {i}" for i in range(classes)]}))
    patch.setitem(known.meta, "md5", md5(meta))


def idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def mnist(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    middle, classes = ("emnist-balanced-", 47) if name == "EMNIST" else ("", 10)
    for prefix, each in (("train", TRAIN), ("test" if middle else "t10k", TEST)):
        idx(folder / f"{middle}{prefix}-images-idx3-ubyte", noise(classes * each, 28, 28))
        idx(folder / f"{middle}{prefix}-labels-idx1-ubyte", labels(classes, each).astype(np.uint8))


def svhn(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    for part, each in (("train", TRAIN), ("test", TEST)):
        file = root / f"{part}_32x32.mat"
        savemat(file, {"X": noise(32, 32, 3, 10 * each), "y": 1 + labels(10, each)[:, None]})
        patch.setitem(torchvision.datasets.SVHN.split_list, part, ["", file.name, md5(file)])


def stl10(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / "stl10_binary"
    folder.mkdir()
    (folder / "class_names.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    for part, each in (("train", TRAIN), ("test", TEST)):
        (folder / f"{part}_X.bin").write_bytes(noise(10 * each, 3, 96, 96).tobytes())
        (folder / f"{part}_y.bin").write_bytes((1 + labels(10, each)).astype(np.uint8).tobytes())
    patch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)


def usps(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    for part, each in (("train", TRAIN), ("test", TEST)):
        lines = []
        for label in labels(10, each):
            values = RNG.uniform(-1, 1, 256)
            lines.append(" ".join([str(label + 1), *(f"{i + 1}:{value:.3f}" for i, value in enumerate(values))]))
        file = torchvision.datasets.USPS.split_list[part][1]
        (root / file).write_bytes(bz2.compress("\n".join(lines).encode()))


def semeion(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    rows = [np.concatenate([RNG.integers(0, 2, 256), np.eye(10)[label]]) for label in labels(10, 10)]
    np.savetxt(root / "semeion.data", np.array(rows), fmt="%d")
    patch.setattr(torchvision.datasets.SEMEION, "md5_checksum", md5(root / "semeion.data"))


def eurosat(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    for label in labels(10, 1):
        for number in range(10):
            picture(root / "eurosat" / "2750" / f"class {label}" / f"{number}.jpg", 64)


def gtsrb(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / "gtsrb"
    for label in range(43):
        for number in range(TRAIN):
            picture(folder / "GTSRB" / "Training" / f"{label:05d}" / f"{number}.ppm", None)
        picture(folder / "GTSRB" / "Final_Test" / "Images" / f"{label}.ppm", None)
    lines = ["Filename;ClassId", *(f"{label}.ppm;{label}" for label in range(43))]
    (folder / "GT-final_test.csv").write_text("\n".join(lines))


def aircraft(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    for part, each in (("trainval", TRAIN), ("test", TEST)):
        lines = []
        for number, label in enumerate(labels(100, each)):
            picture(folder / "images" / f"{part}{number}.jpg", None)
            lines.append(f"{part}{number} variant {label}")
        (folder / f"images_variant_{part}.txt").write_text("\n".join(lines))
    (folder / "variants.txt").write_text("\n".join(f"variant {i}" for i in range(100)))


def dtd(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for part, each in (("train", TRAIN), ("val", TEST), ("test", TEST)):
        files = [f"class{label}/{part}{number}.jpg" for number, label in enumerate(labels(5, each))]
        for file in files:
            picture(folder / "images" / file, None)
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(files))


def imagenette(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    for part, each in (("train", TRAIN), ("val", TEST)):
        for wnid in torchvision.datasets.Imagenette._WNID_TO_CLASS:
            for number in range(each):
                picture(root / "imagenette2" / part / wnid / f"{number}.jpeg", None)


def caltech101(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / "caltech101" / "101_ObjectCategories"
    for label in range(4):
        for number in range(10):
            picture(folder / f"class{label}" / f"image_{number + 1:04d}.jpg", None)
    (folder / "BACKGROUND_Google").mkdir()  # which torchvision leaves out
    (root / "caltech101" / "Annotations").mkdir()


def fer2013(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    (root / "fer2013").mkdir()
    lines = ["emotion,pixels,Usage"]
    for usage, each in (("Training", TRAIN), ("PublicTest", TEST)):
        lines += [f"{label},{' '.join(map(str, noise(48 * 48)))},{usage}" for label in labels(7, each)]
    (root / "fer2013" / "fer2013.csv").write_text("\n".join(lines))
    known = torchvision.datasets.FER2013
    patch.setitem(known._RESOURCES, "fer", ("fer2013.csv", md5(root / "fer2013" / "fer2013.csv")))


def omniglot(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    folder = root / "omniglot-py"
    for label in range(6):
        for number in range(10):
            picture(folder / "images_background" / "Latin" / f"character{label:02d}" / f"{number}.png", 105)
    (folder / "images_background.zip").write_bytes(b"unpacked")
    known = torchvision.datasets.Omniglot
    patch.setitem(known.zips_md5, "images_background", md5(folder / "images_background.zip"))


MAKERS: dict[str, Callable[[Path, str, pytest.MonkeyPatch], None]] = {
    "Caltech101": caltech101,
    "CIFAR10": cifar,
    "CIFAR100": cifar,
    "DTD": dtd,
    "EMNIST": mnist,
    "EuroSAT": eurosat,
    "FER2013": fer2013,
    "FGVCAircraft": aircraft,
    "GTSRB": gtsrb,
    "Imagenette": imagenette,
    "KMNIST": mnist,
    "MNIST": mnist,
    "Omniglot": omniglot,
    "SEMEION": semeion,
    "STL10": stl10,
    "SVHN": svhn,
    "USPS": usps,
}


def make(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    """Write a tiny copy of a set, and let torchvision expect its sums."""
    MAKERS[name](root, name, patch)
