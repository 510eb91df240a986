"""Any folder of class folders of images."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_adaptconv.data.listing import Listing
from lit_adaptconv.data.shards import list_images
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.data.split import stratified_split
from lit_adaptconv.data.stored import StoredImageData, StoredImages
from lit_adaptconv.errors import UserError
from lit_adaptconv.text import characters


class ImageFolder(StoredImageData):
    """Images of any format that PIL reads, sorted into one folder per class.

    `root` holds either `train/<class>/…` and, optionally, `val/<class>/…` and `test/<class>/…` (or `Training`, `valid`,
    `validation`, `test_set` and the like), or the class folders themselves. Parts that are missing are held out of the
    training images: first a test set, stratified and the same for every seed, then a validation set, stratified and
    drawn from the seed. For `predict`, and only there, `root` may also hold images without class folders; their labels
    are -1. Hidden files, duplicate links and files that are not images are left out, and a warning counts them.
    Transparency is dropped, unless the image is drawn in it alone.

    `root` may also be shards in webdataset's form: uncompressed tar files that hold `0001.jpg` and its class in
    `0001.cls`, a number from 0 on. Name one file, a pattern such as `shards-{000..009}.tar`, or a folder in which a
    word of each file's name says the part: `imagenet-train-000.tar`, `validation/00.tar`.

    Images that fit into memory are decoded once, in the user's cache folder (`$XDG_CACHE_HOME/lit_adaptconv`, else
    `~/.cache/lit_adaptconv`). Others are decoded in every epoch by worker processes.

    Args:
        root: the folder, or a pattern of shards such as `train-{000..009}.tar`.
        image_size: the size in pixels (both sides, or height and width) to which images are scaled and cropped; None:
            they all have the size of the first.
        in_channels: 1 (grey) or 3 (colour); None: as the first image.
        class_names: the class folders in the order of their labels, or the names of the labels in shards; None: sorted
            by name, or their numbers.
        mean: the mean of each channel, where 1 is white; None: that of the images that are not test images (of 1,024
            of them if they are not in memory).
        std: the standard deviation of each channel; None: likewise.
        batch_size: images per training batch and process.
        val_size: images held out for validation: below 1 a fraction of the training images, from 1 on a count. Unused
            where there is a folder `val`.
        test_size: images held out for the test, likewise. Unused where there is a folder `test`.
        seed: seed of the validation split, the order of the batches and their augmentation; None: that of
            `lightning.seed_everything`, or 0 if none was set.
        split_seed: seed of the validation split alone; None: `seed`.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        flip: whether a training image is mirrored left to right half of the time: right for photographs of things,
            wrong for writing.
        transforms: further augmentation of training images, such as `torchvision.transforms.v2.RandAugment`; see
            `ImageData`.
        drop_last: whether an incomplete last training batch is left out.
        in_memory: whether all images are held in memory; None: if they take at most 2 GiB.
        random_crops: whether training sees a random part of each image (see `StreamedImages`), before `shift` and
            `flip`. The images are then not held in memory.
        num_workers: processes that decode images that are not in memory.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.
        bit_depth: how many bits the values of grey images with more than 8 bits use, such as 12: the upper 8 are taken.
            None: as many as the largest value in 256 of the images needs, rounded up to an even number.

    Raises:
        UserError: an argument is out of its range; later, the folder is missing or empty, there are fewer than two
            classes, or an image cannot be read or has another size than the first.
    """

    def __init__(
        self,
        root: str = "data",
        image_size: int | tuple[int, int] | None = None,
        in_channels: int | None = None,
        class_names: list[str] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        batch_size: int = 128,
        val_size: int | float = 0.1,
        test_size: int | float = 0.2,
        seed: int | None = None,
        shift: int = 0,
        flip: bool = False,
        drop_last: bool = False,
        in_memory: bool | None = None,
        num_workers: int = 4,
        eval_batch_size: int | None = None,
        bit_depth: int | None = None,
        split_seed: int | None = None,
        transforms: list[nn.Module] | None = None,
        random_crops: bool = False,
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
        if test_size <= 0 or (test_size > 1 and test_size != int(test_size)):
            raise UserError(f"test_size must be a fraction between 0 and 1 or a count of images, got {test_size}")
        if len(set(class_names or [])) < len(class_names or []):
            raise UserError(f"class_names must differ from each other, got {', '.join(class_names or [])}")
        if bit_depth is not None and bit_depth < 8:
            raise UserError(f"bit_depth must be at least 8, got {bit_depth}")
        if std is not None and min(std, default=0) <= 0:
            raise UserError(f"std must be above 0, got {std}")
        self.root = root
        self.test_size = test_size
        self._class_names = class_names and list(map(characters, class_names))
        self._mean = mean
        self._std = std
        self._bit_depth = bit_depth

    @property
    def class_names(self) -> list[str]:
        """The names of the class folders, in the order of the labels."""
        names = self._listing.class_names or self._class_names
        if not names:
            raise UserError(
                f"image folder {self.root} holds images but no class folders: training and testing need them, and "
                "predict needs --data.class_names to know the classes"
            )
        return names

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, where 1 is white."""
        return self._per_channel("mean", self._statistics[0] if self._mean is None else self._mean)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, where 1 is white."""
        return self._per_channel("std", self._statistics[1] if self._std is None else self._std)

    @property
    def predict_names(self) -> list[str]:
        """The path below `root` of every image that `predict_dataloader` yields, in order; after `setup`."""
        files = self._listing.files
        return [files[index].name for index in self._ready(self._test).indices.tolist()]

    def prepare_data(self) -> None:
        """Decode the images into the cache."""
        self._stored.keep()

    def setup(self, stage: str | None = None) -> None:
        """Read what `stage` (fit, validate, test or predict; None: everything) needs, and split it."""
        if stage != "predict" and not self._listing.train:
            raise UserError(f"image folder {self.root} holds images but no class folders: only predict can use them")
        super().setup(stage)
        if stage == "fit" and isinstance(self._stored.source, ResidentImages):
            self._tell_copies(self._stored.source.images.numpy())

    def hold_out(self, pool: Split) -> tuple[Split, Split]:
        """Part the images to train and validate with; where there is a folder `val`, its images validate."""
        if self._listing.val is None:
            return super().hold_out(pool)
        begin = len(self._listing.train)
        return pool, Split(pool.source, torch.arange(begin, begin + len(self._listing.val)))

    def state_dict(self) -> dict[str, Any]:
        """Return what evaluation elsewhere needs: classes, mean, standard deviation and bits."""
        state = {"class_names": self.class_names, "mean": list(self.mean), "std": list(self.std)}
        return {**state, "bit_depth": self._stored.pixels.bit_depth}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over mean and standard deviation, where none were given.

        Raises:
            UserError: the classes are others, or another number of bits was used.
        """
        known = list(map(characters, state_dict["class_names"]))
        self._class_names = self._class_names or known
        if self.class_names != known:
            raise UserError(
                f"the checkpoint knows the classes {', '.join(known)}, but {self.root} has "
                f"{', '.join(self.class_names)}; --data.class_names sets their order"
            )
        used, bits = state_dict.get("bit_depth", 16), self._stored.pixels.bit_depth  # older checkpoints always used 16
        if used and bits and used != bits:
            raise UserError(
                f"the checkpoint was trained on images of {used} bits, those in {self.root} have {bits}; "
                f"--data.bit_depth {used} reads them alike"
            )
        self._mean = self._mean or state_dict["mean"]
        self._std = self._std or state_dict["std"]

    @rank_zero_only
    def _tell_copies(self, images: NDArray[np.uint8]) -> None:
        """Warn of test images that are also among those to train and validate with."""
        train, test = ([hash(images[index].tobytes()) for index in part.tolist()] for part in self._parts)
        if copies := sum(map(set(train).__contains__, test)):
            rank_zero_warn(f"image folder {self.root}: {copies:,} test images are in train too, pixel for pixel")

    def _per_channel(self, name: str, values: list[float]) -> tuple[float, ...]:
        if len(values) != self.in_channels:
            raise UserError(f"{name} has {len(values)} values, but the images have {self.in_channels} channels")
        return tuple(values)

    @cached_property
    def _listing(self) -> Listing:
        return list_images(self.root, self._class_names)

    @cached_property
    def _stored(self) -> StoredImages:
        files = self._listing.files
        return StoredImages(
            [file.encoded for file in files],
            torch.tensor([file.label for file in files], dtype=torch.int64),
            self._image_size,
            self._in_channels,
            self._bit_depth,
            self.in_memory,
            self.random_crops,
            self.num_workers,
            files,
        )

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        """Indices of the images to train and validate with, and of those to test with."""
        listing = self._listing
        train = torch.arange(len(listing.train))
        if listing.test is not None:
            return train, torch.arange(len(listing.files) - len(listing.test), len(listing.files))
        labels = torch.tensor([file.label for file in listing.train])
        return stratified_split(labels, self.test_size, seed=0, name="test_size")

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        return self._stored.statistics(self._parts[0] if self._listing.train else self._parts[1])
