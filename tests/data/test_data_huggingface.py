"""Sets that `datasets` reads: the images and labels that it reads itself, from every layout, without a network."""

from __future__ import annotations

import io
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lit_adaptconv.data import HuggingFace
from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.identity import data_fingerprint

datasets = pytest.importorskip("datasets")

CLASSES = ["cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of the test's own, and no network."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def pictures(number: int, mode: str = "RGB", side: int = 6, seed: int = 0) -> list[Image.Image]:
    shape = (number, side, side) if mode == "L" else (number, side, side, len(mode))
    return [Image.fromarray(each, mode) for each in np.random.default_rng(seed).integers(0, 256, shape, np.uint8)]


def table(images: list[Image.Image]) -> Any:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
    content = {"image": images, "label": [i % 3 for i in range(len(images))]}
    return datasets.Dataset.from_dict(content, datasets.Features(features))


def parquet(root: Path, **parts: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for part, made in parts.items():
        made.to_parquet(root / f"{part}.parquet")
    return root


def image_folder(root: Path, **parts: list[Image.Image]) -> Path:
    for part, images in parts.items():
        for number, image in enumerate(images):
            file = root / part / CLASSES[number % 3] / f"{number:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
    return root


def web(root: Path, **parts: list[Image.Image]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for part, images in parts.items():
        with tarfile.open(root / f"{part}-000.tar", "w") as shard:
            for number, image in enumerate(images):
                file = io.BytesIO()
                image.save(file, "png")
                for kind, content in (("png", file.getvalue()), ("cls", str(number % 3).encode())):
                    member = tarfile.TarInfo(f"{number:03d}.{kind}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    return root


LAYOUTS: dict[str, Callable[..., Path]] = {
    "parquet": lambda root, **parts: parquet(root, **{part: table(images) for part, images in parts.items()}),
    "image folder": image_folder,
    "webdataset": web,
}


def ready(path: Path, **arguments: Any) -> HuggingFace:
    data = HuggingFace(str(path), **{"num_workers": 0, "batch_size": 4, **arguments})
    data.setup()
    return data


def contents(loader: Any) -> list[tuple[bytes, int]]:
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in loader
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_images_and_labels_are_those_that_were_written(
    tmp_path: Path, layout: str, mode: str, in_memory: bool
) -> None:
    parts = {"train": pictures(18, mode), "test": pictures(6, mode, seed=1)}
    data = ready(LAYOUTS[layout](tmp_path / "set", **parts), in_memory=in_memory)
    assert data.class_names == (["0", "1", "2"] if layout == "webdataset" else CLASSES)
    channels = 1 if mode == "L" else 3
    assert (data.in_channels, data.image_size) == (channels, (6, 6))
    for part, images in parts.items():
        split = data.load("train" if part == "train" else "test")
        pixels = [(image.convert("L" if channels == 1 else "RGB"), number % 3) for number, image in enumerate(images)]
        expected = sorted((np.atleast_3d(np.asarray(i)).transpose(2, 0, 1).tobytes(), label) for i, label in pixels)
        indices = split.indices
        ((found, labels),) = split.source.fetch(indices, (0, len(indices)), None, torch.device("cpu"))
        assert sorted((i.numpy().tobytes(), int(n)) for i, n in zip(found, labels, strict=True)) == expected
        if part == "train":
            np.testing.assert_allclose(data.mean, found.double().mean((0, 2, 3)) / 255, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_depends_on_seed_and_epoch_alone_and_resumes_within_an_epoch(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path / "set", train=pictures(40))
    arguments = {"random_crops": True, "image_size": 6, "seed": 3, "flip": True}
    first = ready(path, **arguments).train_dataloader()
    epochs = [contents(first), contents(first)]
    assert epochs[0] != epochs[1]
    assert contents(ready(path, **arguments, num_workers=2).train_dataloader()) == epochs[0]
    resumed = ready(path, **arguments).train_dataloader()
    resumed.load_state_dict({"epoch": 1, "batch": 2, "batches": len(resumed)})
    assert contents(resumed) == epochs[1][8:]


def test_test_images_are_those_of_test_or_validation_or_a_fifth(tmp_path: Path) -> None:
    made = {part: table(pictures(number)) for part, number in (("train", 30), ("validation", 9), ("test", 6))}
    for parts, number in ((("train", "validation", "test"), 6), (("train", "validation"), 9), (("train",), 6)):
        path = parquet(tmp_path / str(len(parts)), **{part: made[part] for part in parts})
        one, other = ready(path, seed=0), ready(path, seed=1)
        assert len(one.load("test").indices) == number
        assert torch.equal(one.load("test").indices, other.load("test").indices)
        assert set(one.load("test").indices.tolist()).isdisjoint(one.load("train").indices.tolist())
    whole = ready(tmp_path / "3", split="train+validation", test_split="test")
    assert len(whole.load("train").indices) == 39
    parted = ready(tmp_path / "1", split="train[:20]", test_split="train[20:]")
    assert (len(parted.load("train").indices), len(parted.load("test").indices)) == (20, 10)


@pytest.mark.parametrize(
    ("values", "names"),
    [([7, 3, 5], ["3", "5", "7"]), (["b", "a", "c"], ["a", "b", "c"]), ([True, False, True], ["False", "True"])],
)
def test_labels_that_name_no_classes_are_their_values(tmp_path: Path, values: list[Any], names: list[str]) -> None:
    labels = (values * 10)[:30]
    made = datasets.Dataset.from_dict({"image": pictures(30), "target": labels}).cast_column("image", datasets.Image())
    data = ready(parquet(tmp_path, train=made))
    assert data.class_names == names
    found = [names[label] for label in data.load("train").source.labels.tolist()]
    assert found == [str(label) for label in labels]


def test_columns_may_be_named(tmp_path: Path) -> None:
    made = table(pictures(30)).rename_columns({"image": "front", "label": "fine"})
    made = made.add_column("back", [{"bytes": b"?", "path": None}] * 30).cast_column("back", datasets.Image())
    made = made.add_column("coarse", [0, 1] * 15).cast_column("coarse", datasets.ClassLabel(names=["x", "y"]))
    path = parquet(tmp_path, train=made)
    with pytest.raises(UserError, match=r"several columns of images; --data\.image_column is one of front, back$"):
        ready(path)
    with pytest.raises(UserError, match=r"several columns of labels; --data\.label_column is one of fine, coarse$"):
        ready(path, image_column="front")
    assert ready(path, image_column="front", label_column="coarse").class_names == ["x", "y"]


def test_what_was_read_before_serves_without_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ready(parquet(tmp_path / "animals", train=table(pictures(30))))
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("animals")
    again = HuggingFace("animals", num_workers=0, batch_size=4)
    again.setup()
    assert contents(again.test_dataloader()) == contents(read.test_dataloader())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"path": "nothing"},
            "neither a folder nor in the cache; .* --data.path nothing --data.download true` fetches it",
        ),
        ({"path": "some/one"}, "neither a folder nor in the cache; .* fetches it"),
        ({"path": "./nothing"}, "neither a folder nor the name of a set"),
        ({"path": "hf://datasets/a/b"}, "neither a folder nor the name of a set"),
        ({"split": "training"}, 'Unknown split "training"'),
        ({"test_split": "t"}, 'Unknown split "t"'),
        ({"split": "train[:0]"}, r"train\[:0\].* corresponds to no data"),
        ({"split": "train["}, r"train\["),
        ({"name": "large"}, "'large' not found"),
        ({"image_column": "picture"}, "no column picture; --data.image_column is one of image"),
        ({"label_column": "image"}, "the column image holds .*, no labels"),
        ({"image_column": "label"}, "label"),
        ({"image_size": 0}, "image_size must be at least 1"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
        ({"random_crops": True, "in_memory": True}, "random_crops are taken from"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, arguments: dict[str, Any], line: str) -> None:
    path = parquet(tmp_path, train=table(pictures(30)))
    with pytest.raises(UserError, match=line) as caught:
        ready(**{"path": path, **arguments})
    assert "\n" not in str(caught.value)


def test_images_that_have_no_label_or_cannot_be_used_are_named(tmp_path: Path) -> None:
    good = {"image": pictures(9), "label": [0, 1, 2] * 3}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    broken = [{"bytes": b"\x89PNG\r\n broken", "path": None}, None]
    cases: dict[str, dict[str, Any]] = {
        "image 3 has no label": {**good, "label": [0, 1, 2, -1, 0, 1, 2, 0, 1]},
        "image 4 has no label": {**good, "label": [0, 1, 2, 0, None, 1, 2, 0, 1]},
        "corresponds to no data": {"image": [], "label": []},
        "there is one class": {**good, "label": ["x"] * 9},
        "image 8: the image is 7×7 pixels, the first one is 6×6": {
            **good,
            "image": [*pictures(8), *pictures(1, side=7)],
        },
        "2 images cannot be read: .*image 7: not a readable image .*; .*image 8: not .*row is empty": {
            **good,
            "image": [*pictures(7), *broken],
        },
    }
    for number, (line, content) in enumerate(cases.items()):
        typed = None if "x" in content["label"] else features
        made = datasets.Dataset.from_dict(content, typed).cast_column("image", datasets.Image())
        with pytest.raises(UserError, match=line) as caught:
            ready(parquet(tmp_path / str(number), train=made))
        assert "\n" not in str(caught.value)
        assert "object at" not in str(caught.value)


def test_a_sweep_knows_a_set_by_its_labels(tmp_path: Path) -> None:
    for name, number in (("one", 30), ("same", 30), ("other", 33)):
        parquet(tmp_path / name, train=table(pictures(number)))
    one, same, other = (data_fingerprint(HuggingFace(str(tmp_path / name))) for name in ("one", "same", "other"))
    assert one == same != other
