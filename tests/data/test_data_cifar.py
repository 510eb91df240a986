import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from lit_adaptconv.data import CIFAR10, CIFAR100
from lit_adaptconv.errors import UserError


def write_cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write tiny batches in CIFAR's format, and let torchvision expect their MD5 sums."""
    known = getattr(torchvision.datasets, name)
    folder = root / known.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    key, classes = ("labels", 10) if name == "CIFAR10" else ("fine_labels", 100)
    for attribute in ("train_list", "test_list"):
        sums = []
        for file, _ in getattr(known, attribute):
            count = 2 * classes
            batch = {"data": rng.integers(0, 256, (count, 3072), np.uint8), key: [i % classes for i in range(count)]}
            (folder / file).write_bytes(pickle.dumps(batch))
            sums.append([file, hashlib.md5((folder / file).read_bytes()).hexdigest()])
        monkeypatch.setattr(known, attribute, sums)
    return folder


@pytest.mark.parametrize(("module", "name"), [(CIFAR10, "CIFAR10"), (CIFAR100, "CIFAR100")])
def test_the_files_are_read_as_torchvision_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: type[CIFAR10], name: str
) -> None:
    folder = write_cifar(tmp_path, name, monkeypatch)
    known = getattr(torchvision.datasets, name)
    meta = {known.meta["key"]: module.class_names}
    (folder / known.meta["filename"]).write_bytes(pickle.dumps(meta))
    md5 = hashlib.md5((folder / known.meta["filename"]).read_bytes()).hexdigest()
    monkeypatch.setitem(known.meta, "md5", md5)
    data = module(root=str(tmp_path), val_size=0.5)
    for part in ("train", "test"):
        reference = known(tmp_path, train=part == "train")
        split = data.load(part)  # type: ignore[arg-type]
        assert np.array_equal(split.source.images.permute(0, 2, 3, 1).numpy(), reference.data)  # type: ignore[attr-defined]
        assert split.labels.tolist() == reference.targets
    data.setup()
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape[1:] == (data.in_channels, *data.image_size) == (3, 32, 32)
    assert torch.equal(labels.unique(), torch.arange(data.num_classes))


def test_the_class_names_are_distinct_and_as_many_as_the_name_says() -> None:
    assert len(set(CIFAR10.class_names)) == 10
    assert len(set(CIFAR100.class_names)) == 100
    assert sorted(CIFAR100.class_names) == CIFAR100.class_names


def test_a_truncated_file_is_refused_before_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_cifar(tmp_path, "CIFAR10", monkeypatch) / "test_batch"
    path.write_bytes(path.read_bytes()[:1000])
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(UserError, match="truncated or not the original, the MD5 sum of its 1,000 bytes is") as caught:
        CIFAR10(root=str(tmp_path)).setup("test")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_named_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar(tmp_path, "CIFAR10", monkeypatch)
    (folder / "data_batch_3").unlink()
    with pytest.raises(UserError, match=r"CIFAR10 not found: .* holds no data_batch_3; `adaptconv fit --data CIFAR10"):
        CIFAR10(root=str(tmp_path)).setup("fit")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("code of the file ran",))


@pytest.mark.parametrize(("module", "name"), [(CIFAR10, "CIFAR10"), (CIFAR100, "CIFAR100")])
def test_no_file_of_another_origin_runs_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: type[CIFAR10], name: str
) -> None:
    folder = write_cifar(tmp_path, name, monkeypatch)
    known = getattr(torchvision.datasets, name)
    (folder / known.meta["filename"]).write_bytes(pickle.dumps(Evil()))
    assert len(module(root=str(tmp_path)).load("train").labels)  # the names of the classes are not read
    for file, _ in known.train_list:
        (folder / file).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(UserError, match="not the original"):
            module(root=str(tmp_path)).load("train")
    assert len(module(root=str(tmp_path)).load("test").labels)  # nor is the other part
