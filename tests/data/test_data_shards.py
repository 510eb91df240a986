"""Shards in webdataset's form: the same images as a folder's, in the same orders, whatever the archive is like."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lit_adaptconv.data import ImageFolder
from lit_adaptconv.data.shards import list_images
from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.identity import data_fingerprint


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def png(seed: int, side: int = 6) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(file, "png")
    return file.getvalue()


def write(path: Path, members: list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as shard:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


def samples(first: int, number: int, classes: int = 3) -> list[tuple[str, bytes]]:
    """Images and labels; an image's seed is its number, its class that number modulo `classes`."""
    numbers = range(first, first + number)
    return [m for i in numbers for m in ((f"{i:04d}.png", png(i)), (f"{i:04d}.cls", str(i % classes).encode()))]


def shards(root: Path, *names: str, each: int = 12) -> Path:
    for index, name in enumerate(names):
        write(root / name, samples(each * index, each))
    return root


def contents(loader: object) -> list[tuple[bytes, int]]:
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in loader  # type: ignore[attr-defined]
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.mark.parametrize("in_memory", [True, False])
def test_shards_train_and_test_as_a_folder_of_the_same_images(tmp_path: Path, in_memory: bool) -> None:
    shards(tmp_path / "tar", "train-00.tar", "train-01.tar", "val-00.tar", "test-00.tar")
    for index, part in enumerate(("train", "train", "val", "test")):
        for i in range(12 * index, 12 * (index + 1)):
            file = tmp_path / "folder" / part / str(i % 3) / f"{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(i))
    modules = []
    for root in ("tar", "folder"):
        data = ImageFolder(str(tmp_path / root), in_memory=in_memory, num_workers=0, batch_size=5, seed=3)
        data.setup()
        modules.append(data)
    sharded, folder = modules
    assert sharded.class_names == folder.class_names == ["0", "1", "2"]
    assert (sharded.mean, sharded.std) == (folder.mean, folder.std)
    for name in ("train", "val", "test"):
        loaders = [getattr(data, f"{name}_dataloader")() for data in modules]
        assert sorted(contents(loaders[0])) == sorted(contents(loaders[1]))


def test_training_from_shards_depends_on_seed_and_epoch_alone_and_resumes_within_an_epoch(tmp_path: Path) -> None:
    shards(tmp_path, "a-00.tar", "a-01.tar", "a-02.tar")

    def loader(workers: int = 0, **state: int) -> object:
        data = ImageFolder(
            str(tmp_path), num_workers=workers, batch_size=4, seed=5, flip=True, random_crops=True, image_size=6
        )
        data.setup()
        made = data.train_dataloader()
        if state:
            made.load_state_dict({**state, "batches": len(made)})
        return made

    first = loader()
    epochs = [contents(first), contents(first)]
    assert set(epochs[0]).isdisjoint(epochs[1])
    assert contents(loader(workers=2)) == epochs[0]
    assert contents(loader(epoch=1, batch=3)) == epochs[1][12:]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["", "./", "deep/er/"]), min_size=1, max_size=3),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
    st.sampled_from(["png", "PNG"]),
    st.booleans(),
    st.integers(0, 120),
)
def test_every_image_has_its_own_bytes_and_label(
    tmp_path_factory: pytest.TempPathFactory, folders: list[str], format: int, kind: str, label_first: bool, long: int
) -> None:
    root = tmp_path_factory.mktemp("shards")
    expected, members = {}, []
    for number in range(7):
        stem = f"{folders[number % len(folders)]}{'x' * long if format != tarfile.USTAR_FORMAT else ''}{number}"
        pair = [(f"{stem}.{kind}", png(number)), (f"{stem}.cls", f" {number % 3}\n".encode())]
        members += [*(reversed(pair) if label_first else pair), (f"{stem}.json", b"{}"), (f"{stem}.seg.png", b"?")]
        expected[f"s.tar/{stem}.{kind}"] = (png(number), number % 3)
    write(root / "s.tar", members, format)
    found = {file.name: file for file in list_images(str(root)).train}
    assert found.keys() == expected.keys()
    for name, (content, label) in expected.items():
        assert found[name].encoded.open().read() == content  # type: ignore[union-attr]
        assert found[name].label == label


def test_a_pattern_names_shards_and_a_part_is_a_word_of_the_name(tmp_path: Path) -> None:
    names = [f"set-{kind}-{i:02d}.tar" for kind in ("train", "validation") for i in range(11)]
    shards(tmp_path, *names, each=3)
    listing = list_images(str(tmp_path))
    assert (len(listing.train), len(listing.val or []), listing.test) == (33, 33, None)
    listing = list_images(str(tmp_path / "set-{train,x}-00.tar".replace("{train,x}", "train")))
    assert len(listing.train) == 3
    listing = list_images(str(tmp_path / "set-train-{08..10}.tar"))
    assert [file.name.partition("/")[0] for file in listing.train[::3]] == [
        f"set-train-{i}.tar" for i in ("08", "09", 10)
    ]
    shards(tmp_path / "deep", "train/0.tar", "test/0.tar", each=4)
    listing = list_images(str(tmp_path / "deep"))
    assert (len(listing.train), listing.val, len(listing.test or [])) == (4, None, 4)
    assert listing.train[0].name == "train/0.tar/0000.png"


def test_a_sweep_knows_shards_by_what_they_hold(tmp_path: Path) -> None:
    shards(tmp_path / "one", "a.tar")
    shards(tmp_path / "same", "a.tar")
    shards(tmp_path / "other", "a.tar", each=9)
    one, same, other = (data_fingerprint(ImageFolder(str(tmp_path / name))) for name in ("one", "same", "other"))
    assert one == same != other


def test_an_archive_beside_class_folders_is_left_out(tmp_path: Path) -> None:
    shards(tmp_path, "all.tar")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(png(0))
    with pytest.warns(UserWarning, match=r"\.tar files \(1\)"):
        assert list_images(str(tmp_path)).class_names == ["cat", "dog"]


GOOD = samples(0, 6)


@pytest.mark.parametrize(
    ("root", "members", "line"),
    [
        ("", [*GOOD, ("x.png", b"")], r"s\.tar holds x\.png, but no label x\.cls"),
        ("", [*GOOD, ("x.png", b""), ("x.cls", b"cat")], r"x\.cls must hold the number of a class, .*got 'cat'"),
        ("", [*GOOD, ("x.png", b""), ("x.cls", b"-1")], "got '-1'"),
        ("", [*GOOD, ("x.png", b""), ("x.jpg", b""), ("x.cls", b"0")], "two images x: x.png and x.jpg"),
        ("", samples(0, 6, classes=1), "hold one class"),
        ("", [("readme.txt", b"")], "hold no images with labels"),
        ("s-{00..03}.tar", GOOD, r"s-00\.tar does not exist \(4 of 4"),
        ("nothing.tar", GOOD, "nothing.tar does not exist"),
    ],
)
def test_what_is_wrong_with_shards_is_one_line(
    tmp_path: Path, root: str, members: list[tuple[str, bytes]], line: str
) -> None:
    write(tmp_path / "s.tar", members)
    with pytest.raises(UserError, match=line) as caught:
        ImageFolder(str(tmp_path / root)).setup()
    assert "\n" not in str(caught.value)


def test_parts_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    shards(tmp_path / "a", "train-0.tar", "more.tar")
    shards(tmp_path / "b", "test-0.tar", "val-0.tar")
    shards(tmp_path / "c", "train/val-0.tar")
    for name, line in (("a", r"more\.tar: its name must say one part"), ("b", "none of train"), ("c", "say one part")):
        with pytest.raises(UserError, match=line):
            list_images(str(tmp_path / name))


def test_classes_may_be_named_and_labels_beyond_them_are_refused(tmp_path: Path) -> None:
    shards(tmp_path, "s.tar")
    assert ImageFolder(str(tmp_path), class_names=["a", "b", "c"]).class_names == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"s\.tar/0002\.png has the label 2, but there are 2 classes"):
        ImageFolder(str(tmp_path), class_names=["a", "b"]).setup()


@pytest.mark.parametrize("in_memory", [True, False])
def test_broken_images_of_shards_are_all_named(tmp_path: Path, in_memory: bool) -> None:
    members = samples(0, 12)
    for index in (4, 10):
        members[2 * index] = (members[2 * index][0], b"\x89PNG\r\n broken")
    write(tmp_path / "s.tar", members)
    data = ImageFolder(str(tmp_path), in_memory=in_memory, num_workers=0)

    def read() -> None:
        data.setup()
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            contents(loader)

    with pytest.raises(UserError, match="2 images cannot be read") as caught:
        read()
    line = str(caught.value)
    assert "s.tar/0004.png: not a readable image (" in line
    assert "s.tar/0010.png" in line
    assert "object at" not in line


def test_shards_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lit_adaptconv.data import cache

    shards(tmp_path, "s.tar")
    ImageFolder(str(tmp_path)).setup()
    monkeypatch.setattr(cache, "decode", lambda *_, **__: pytest.fail("decoded again"))
    data = ImageFolder(str(tmp_path))
    data.setup()
    assert torch.isfinite(next(iter(data.train_dataloader()))[0]).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.booleans())
def test_a_shard_that_is_cut_off_or_compressed_is_refused_or_whole(
    tmp_path_factory: pytest.TempPathFactory, share: float, damaged: bool
) -> None:
    path = tmp_path_factory.mktemp("shards") / "s.tar"
    write(path, samples(0, 9))
    whole = path.read_bytes()
    at = int(share * len(whole))
    path.write_bytes(whole[:at] + b"\x01" * 512 + whole[at + 512 :] if damaged else whole[:at])
    with contextlib.suppress(UserError):
        assert [file.name for file in list_images(str(path)).train] == [f"s.tar/{i:04d}.png" for i in range(9)]
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(UserError, match="without compression"):
        list_images(str(path))
