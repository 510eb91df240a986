"""Encoded images, in files or elsewhere: what they are turned into, and whether memory holds them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.data.cache import cached_images, decoded
from lit_adaptconv.data.decode import (
    Encoded,
    Pixels,
    checked_channels,
    checked_size,
    decode,
    find_bit_depth,
    naming_all_broken,
    open_image,
    pixels_like,
)
from lit_adaptconv.data.listing import ImageFile
from lit_adaptconv.data.source import ImageSource, ResidentImages, Split
from lit_adaptconv.data.statistics import channel_statistics
from lit_adaptconv.data.stream import StreamedImages
from lit_adaptconv.errors import UserError

IN_MEMORY_BYTES = 2 * 2**30
DEPTH_SAMPLE = 256  # images whose largest value tells how many bits there are
STATISTICS_SAMPLE = 1024  # images that mean and std are estimated from where they are not in memory


@dataclass(frozen=True)
class StoredImages:
    """Encoded images with one label each.

    Attributes:
        images: the images.
        labels: class indices, int64, shape (N,); -1 where unknown.
        size: height and width to which they are scaled and cropped; None: they all have the size of the first.
        channels: 1 (grey) or 3 (colour); None: as the first.
        bit_depth: how many bits the values of grey images with more than 8 bits use; None: as it is found.
        in_memory: whether all are held in memory; None: if they take at most 2 GiB.
        random_crops: whether training sees a random part of each, see `StreamedImages`.
        num_workers: processes that decode what is not in memory.
        files: what the cache knows the images by; None: they are decoded again each time.
    """

    images: Sequence[Encoded]
    labels: Tensor
    size: tuple[int, int] | None
    channels: int | None
    bit_depth: int | None
    in_memory: bool | None
    random_crops: bool
    num_workers: int
    files: Sequence[ImageFile] | None = None

    @cached_property
    def pixels(self) -> Pixels:
        """What each image is turned into.

        Raises:
            UserError: images cannot be read.
        """
        with naming_all_broken(self.images):
            first = open_image(self.images[0])
            sample = range(0, len(self.images), math.ceil(len(self.images) / DEPTH_SAMPLE))
            bits = self.bit_depth or find_bit_depth([self.images[index] for index in sample])
        return pixels_like(first, self.size, self.channels, bits)

    @property
    def fit(self) -> bool:
        """Whether they are held in memory."""
        if self.in_memory is not None:
            return self.in_memory
        return len(self.images) * self.pixels.nbytes <= IN_MEMORY_BYTES

    def keep(self) -> None:
        """Decode those that memory shall hold into the cache."""
        if self.fit and self.files is not None:
            cached_images(self.files, self.pixels)

    @cached_property
    def source(self) -> ImageSource:
        """The images as batches are made of them.

        Raises:
            UserError: images cannot be read.
        """
        if not self.fit:
            return StreamedImages(self.images, self.labels, self.pixels, self.num_workers, self.random_crops)
        kept = decoded(self.images, self.pixels) if self.files is None else cached_images(self.files, self.pixels)
        return ResidentImages(torch.from_numpy(kept), self.labels)

    def statistics(self, indices: Tensor) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over some images, or a sample of them; see `channel_statistics`.

        Raises:
            UserError: images cannot be read.
        """
        if isinstance(self.source, ResidentImages):
            return self.source.statistics(indices)
        chosen = np.unique(np.linspace(0, len(indices) - 1, STATISTICS_SAMPLE).astype(int))
        with naming_all_broken(self.images):
            sample = (decode(self.images[index], self.pixels)[None] for index in indices[chosen].tolist())
            return channel_statistics(sample, self.pixels.channels)


class StoredImageData(ImageData):
    """Base of the image sets that are decoded here.

    Args:
        image_size: the size in pixels (both sides, or height and width) to which images are scaled and cropped; None:
            they all have the size of the first.
        in_channels: 1 (grey) or 3 (colour); None: as the first image.
        in_memory: whether all images are held in memory; None: if they take at most 2 GiB.
        random_crops: whether training sees a random part of each image.
        num_workers: processes that decode images that are not in memory.
        options: arguments of `ImageData`.

    Raises:
        UserError: an argument is out of its range.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] | None,
        in_channels: int | None,
        in_memory: bool | None,
        random_crops: bool,
        num_workers: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if num_workers < 0:
            raise UserError(f"num_workers must be at least 0, got {num_workers}")
        if random_crops and in_memory:
            raise UserError("random_crops are taken from images that are not in memory: leave in_memory out")
        self._image_size = checked_size(image_size)
        self._in_channels = checked_channels(in_channels)
        self.in_memory = False if random_crops else in_memory
        self.random_crops = random_crops
        self.num_workers = num_workers

    @property
    @abstractmethod
    def _stored(self) -> StoredImages:
        """All images."""

    @property
    @abstractmethod
    def _parts(self) -> tuple[Tensor, Tensor]:
        """Indices of the images to train and validate with, and of those to test with."""

    @property
    def in_channels(self) -> int:
        """Channels of an image: 1 or 3."""
        return self._stored.pixels.channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return (self._stored.pixels.height, self._stored.pixels.width)

    def load(self, part: Literal["train", "test"]) -> Split:
        """Return the images to train and validate with, or those to test with.

        Raises:
            UserError: images cannot be read.
        """
        return Split(self._stored.source, self._parts[0 if part == "train" else 1])
