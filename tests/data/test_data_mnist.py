import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv.data import MNIST, FashionMNIST
from lit_adaptconv.errors import UserError


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(root: Path, name: str = "MNIST", train: int = 40, test: int = 20) -> Path:
    """Write the four files of a tiny MNIST of random pixels, with labels 0, 1, …, 9, 0, 1, …"""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return folder


@pytest.mark.parametrize(("module", "name"), [(MNIST, "MNIST"), (FashionMNIST, "FashionMNIST")])
def test_the_files_are_read_as_torchvision_reads_them(tmp_path: Path, module: type[MNIST], name: str) -> None:
    write_mnist(tmp_path, name)
    data = module(root=str(tmp_path), val_size=10)
    reference = getattr(torchvision.datasets, name)(tmp_path, train=False)
    source = data.load("test").source
    assert torch.equal(source.images[:, 0], reference.data)
    assert torch.equal(source.labels, reference.targets)
    assert len(data.class_names) == len(reference.classes) == data.num_classes == 10


def test_validation_images_come_from_the_training_file_and_are_not_trained_on(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = MNIST(root=str(tmp_path), val_size=10, batch_size=16)
    data.setup()
    train, val = (
        {image.numpy().tobytes() for images, _ in loader for image in images}
        for loader in (data.train_dataloader(), data.val_dataloader())
    )
    assert (len(train), len(val), len(train & val)) == (30, 10, 0)
    assert len(data.predict_names) == 20


def test_a_missing_data_set_names_the_files_the_folder_and_the_command(tmp_path: Path) -> None:
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        FashionMNIST(root=str(tmp_path)).setup("test")
    message = str(caught.value)
    assert "\n" not in message
    assert f"{tmp_path / 'FashionMNIST' / 'raw'}" in message
    assert "t10k-images-idx3-ubyte" in message
    assert "t10k-labels-idx1-ubyte" in message
    assert f"adaptconv fit --data FashionMNIST --data.root {tmp_path} --data.download true" in message


def test_download_asks_torchvision_and_reports_a_failure_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def unreachable(root: str, download: bool) -> None:
        asked.append((root, download))
        raise RuntimeError("Error downloading a.gz:\nTried b, got:\nno route")

    monkeypatch.setattr(torchvision.datasets, "MNIST", unreachable)
    MNIST(root=str(tmp_path)).prepare_data()
    assert not asked
    with pytest.raises(UserError, match=r"^MNIST could not be downloaded into .*: Error downloading .* no route$"):
        MNIST(root=str(tmp_path), download=True).prepare_data()
    assert asked == [(str(tmp_path), True)]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "images-idx3",
            lambda old: old[:-100],
            r"truncated or not the original, 15,596 bytes cannot be read \(shape '\[20, 28, 28\]' is invalid",
        ),
        ("images-idx3", lambda old: old[:10], "truncated or not the original, 10 bytes cannot be read"),
        ("images-idx3", lambda old: old + b"x", "not the original, 15,697 bytes cannot be read"),
        ("images-idx3", lambda old: b"\x1f\x8b" + old[2:], "not the original, 15,696 bytes cannot be read"),
        ("labels-idx1", lambda old: b"<html><head>", "not the original, 12 bytes cannot be read"),
        ("labels-idx1", lambda old: struct.pack(">II", 0x801, 3) + b"\0\1\2", "holds 3 labels for the 20 images"),
        ("labels-idx1", lambda old: old[:-1] + b"\x0a", "holds the label 10, expected 0 to 9"),
        (
            "images-idx3",
            lambda old: struct.pack(">IIII", 0x803, 20, 14, 56) + old[16:],
            "holds images of 14×56, expected 28×28",
        ),
    ],
)
def test_a_truncated_or_foreign_file_is_one_line_that_names_it(
    tmp_path: Path, file: str, change: object, message: str
) -> None:
    path = write_mnist(tmp_path) / f"t10k-{file}-ubyte"
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        MNIST(root=str(tmp_path)).setup("test")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@settings(max_examples=60)
@given(
    name=st.sampled_from(["images-idx3", "labels-idx1"]),
    keep=st.integers(0, 60),
    added=st.binary(max_size=40),
)
def test_any_other_bytes_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, keep: int, added: bytes
) -> None:
    root = tmp_path_factory.mktemp("mnist")
    path = write_mnist(root, test=5) / f"t10k-{name}-ubyte"
    original = path.read_bytes()
    path.write_bytes(original[:keep] + added)
    if path.read_bytes() == original:
        return
    with (
        contextlib.suppress(UserError)
        if len(path.read_bytes()) == len(original)
        else pytest.raises(UserError) as caught
    ):
        labels = MNIST(root=str(root)).load("test").labels  # as many as there were
        assert name == "labels-idx1"
        assert set(labels.tolist()) <= set(range(10))
    if caught is not None:
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_the_files_of_one_part_are_enough_for_it(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    for file in folder.glob("train-*"):
        file.unlink()
    assert len(MNIST(root=str(tmp_path)).load("test").labels) == 20
