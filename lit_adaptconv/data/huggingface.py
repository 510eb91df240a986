"""Image sets that the library `datasets` of Hugging Face reads: local files, its cache, or its hub."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from lit_adaptconv.data.split import stratified_split
from lit_adaptconv.data.stored import StoredImageData, StoredImages
from lit_adaptconv.errors import UserError, cause_of

TEST = ("test", "validation")
"""Splits that are tested with, the first that there is."""
LABELS = ("label", "labels", "class", "cls", "target")
"""What a column of labels is called that does not name its classes."""


@dataclass(frozen=True, slots=True)
class Row:
    """The image in a row of a table.

    Attributes:
        table: a `datasets.Dataset` whose images are not decoded.
        column: the column of images.
        index: the row.
        name: what an error calls the table.
    """

    table: Any
    column: str
    index: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}, image {self.index}"

    def open(self) -> str | BinaryIO:
        """What PIL reads.

        Raises:
            ValueError: there is no image.
        """
        image = self.table[self.index][self.column] or {}
        if image.get("bytes") is not None:
            return io.BytesIO(image["bytes"])
        if image.get("path") is None:
            raise ValueError("the row is empty")
        return str(image["path"])


class HuggingFace(StoredImageData):
    """Images with one label each that `datasets` reads: Parquet, Arrow, image folders, webdataset's shards and more.

    `datasets` keeps what it has read as tables in its own cache (`$HF_DATASETS_CACHE`), so it needs no network later.
    Images that fit into memory are decoded once per run. Others are decoded when they are needed, by worker processes
    that read the tables in any order. Install it with the extra `huggingface`.

    Args:
        path: a folder of files; or the name of a set in the cache or, if `download` is set, on the hub.
        split: the part to train and validate with, such as `train`, `train+validation` or `train[:10%]`.
        test_split: the part to test with; None: `test`, or else `validation`, or else a fifth of `split`, stratified
            and the same for every seed.
        name: the configuration of a set that has several.
        image_column: the column of images; None: the only one.
        label_column: the column of labels; None: the only one that names its classes, or else one that is called
            label, labels, class, cls or target.
        image_size: the size in pixels (both sides, or height and width) to which images are scaled and cropped; None:
            they all have the size of the first.
        in_channels: 1 (grey) or 3 (colour); None: as the first image.
        batch_size: images per training batch and process.
        val_size: images held out for validation: below 1 a fraction of the training images, from 1 on a count.
        seed: seed of the validation split, the order of the batches and their augmentation; None: that of
            `lightning.seed_everything`, or 0 if none was set.
        split_seed: seed of the validation split alone; None: `seed`.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        flip: whether a training image is mirrored left to right half of the time: wrong for writing.
        transforms: further augmentation of training images, such as `torchvision.transforms.v2.RandAugment`; see
            `ImageData`.
        drop_last: whether an incomplete last training batch is left out.
        download: whether a set that is neither a folder nor in the cache is fetched from the hub.
        in_memory: whether all images are held in memory; None: if they take at most 2 GiB.
        random_crops: whether training sees a random part of each image (see `ImageFolder`).
        num_workers: processes that decode images that are not in memory.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range; later, the set, a split or a column is missing, an image has no
            label or cannot be read, or images differ in size.
    """

    def __init__(
        self,
        path: str,
        split: str = "train",
        test_split: str | None = None,
        name: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        image_size: int | tuple[int, int] | None = None,
        in_channels: int | None = None,
        batch_size: int = 128,
        val_size: int | float = 0.1,
        seed: int | None = None,
        shift: int = 0,
        flip: bool = False,
        drop_last: bool = False,
        download: bool = False,
        in_memory: bool | None = None,
        random_crops: bool = False,
        num_workers: int = 4,
        eval_batch_size: int | None = None,
        split_seed: int | None = None,
        transforms: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(
            image_size,
            in_channels,
            in_memory,
            random_crops,
            num_workers,
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            shift=shift,
            flip=flip,
            drop_last=drop_last,
            eval_batch_size=eval_batch_size,
            split_seed=split_seed,
            transforms=transforms,
        )
        self.path = path
        self.split = split
        self.test_split = test_split
        self.configuration = name
        self.image_column = image_column
        self.label_column = label_column
        self.download = download

    @property
    def class_names(self) -> list[str]:
        """The names that the column of labels gives the classes, or else its values."""
        return [str(value) for value in self._classes]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the images that are not test images (1,024 of them if not in memory)."""
        return tuple(self._statistics[0])

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the same images."""
        return tuple(self._statistics[1])

    @property
    def labels(self) -> Tensor:
        """The labels of all images, those to train and validate with first, int64, shape (N,)."""
        return torch.cat(self._labels)

    def prepare_data(self) -> None:
        """Let `datasets` read the files into its cache."""
        _ = self._tables

    @cached_property
    def _tables(self) -> list[tuple[str, Any]]:
        """The split to train and validate with and, where there is one, that to test with, by their names."""
        try:
            import datasets  # takes seconds to import
        except ImportError as error:
            raise UserError("datasets is needed: pip install 'lit-adaptconv[huggingface]'") from error
        place = os.path.expanduser(self.path)
        local = os.path.isdir(place)
        if not local and not self.download and not _is_name(self.path):
            raise UserError(f"{self.path} is neither a folder nor the name of a set")
        with self._telling(local), _offline(datasets.config, not self.download):
            builder = datasets.load_dataset_builder(os.path.abspath(place) if local else place, self.configuration)
            builder.download_and_prepare()
            test = self.test_split or next((known for known in TEST if known in builder.info.splits), None)
            wanted = [self.split, *([] if test in (None, self.split) else [test])]
            return [(name, self._columns(builder.as_dataset(name))) for name in wanted]

    def _columns(self, table: Any) -> Any:
        """A table of images that are not decoded and of labels.

        Raises:
            UserError: a column is missing, or there are several.
        """
        from datasets import ClassLabel, Image

        features = table.features
        images = [name for name, kind in features.items() if isinstance(kind, Image)]
        image = self._chosen("image", images, self.image_column, features)
        named = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
        label = self._chosen("label", named or [n for n in LABELS if n in features], self.label_column, features)
        kind = str(getattr(features[label], "dtype", features[label]))
        if not any(word in kind for word in ("int", "bool", "string")):
            raise UserError(f"{self.path}: the column {label} holds {kind}, no labels")
        columns = table.select_columns([image, label]).rename_columns({image: "image", label: "label"})
        return columns.cast_column("image", Image(decode=False))

    def _chosen(self, what: str, found: Sequence[str], given: str | None, columns: Sequence[str]) -> str:
        if given is None and len(found) == 1:
            return found[0]
        if given in columns:
            return str(given)
        missing = f"has no column {given}" if given else f"has {'several columns' if found else 'no column'} of {what}s"
        raise UserError(f"{self.path} {missing}; --data.{what}_column is one of {', '.join(found or columns)}")

    @cached_property
    def _classes(self) -> list[Any]:
        """What the labels 0, 1, 2 … stand for: names, or the values in the column."""
        table = self._tables[0][1]
        names = getattr(table.features["label"], "names", None)
        return list(names) if names else sorted({value for value in table["label"] if value is not None})

    @cached_property
    def _labels(self) -> list[Tensor]:
        """The labels of each table.

        Raises:
            UserError: an image has none, or one that is no class.
        """
        found = []
        for split, table in self._tables:
            named = getattr(table.features["label"], "names", None)
            index = {value: number for number, value in enumerate(range(len(named)) if named else self._classes)}
            values = list(table["label"])
            for row, value in enumerate(values):
                if value not in index:
                    said = "no label" if value is None or (named and value == -1) else f"the label {value!r}, no class"
                    raise UserError(f"{self.path}, {split}, image {row} has {said}; take another split")
            found.append(torch.tensor([index[value] for value in values], dtype=torch.int64))
        if len(self._classes) < 2:
            raise UserError(f"{self.path}, {self.split}: there is one class; it takes at least two")
        return found

    @cached_property
    def _stored(self) -> StoredImages:
        return StoredImages(
            [Row(t, "image", i, f"{self.path}, {split}") for split, t in self._tables for i in range(len(t))],
            self.labels,
            self._image_size,
            self._in_channels,
            None,
            self.in_memory,
            self.random_crops,
            self.num_workers,
        )

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        """Indices of the images to train and validate with, and of those to test with."""
        pool, *test = self._labels
        if test:
            return torch.arange(len(pool)), torch.arange(len(pool), len(pool) + len(test[0]))
        return stratified_split(pool, 0.2, seed=0, name=f"the test part of {self.path}")

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        return self._stored.statistics(self._parts[0])

    @contextmanager
    def _telling(self, local: bool) -> Iterator[None]:
        """Turn what `datasets` raises into one line that says what to do."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            fetch = f"`adaptconv fit --data HuggingFace --data.path {self.path} --data.download true` fetches it"
            missing = isinstance(error, OSError) and not local and not self.download
            reason = "it is neither a folder nor in the cache" if missing else cause_of(error)
            raise UserError(f"{self.path}: {reason}{'; ' + fetch if missing else ''}") from error


def _is_name(path: str) -> bool:
    """Whether a set could be called so: `mnist`, `ylecun/mnist`."""
    parts = path.split("/")
    return len(parts) <= 2 and all(part and not part.startswith((".", "~")) and "\\" not in part for part in parts)


@contextmanager
def _offline(config: Any, offline: bool) -> Iterator[None]:
    """Let `datasets` ask no hub."""
    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before
