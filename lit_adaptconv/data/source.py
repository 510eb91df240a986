"""Where the pixels of a batch come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from lit_adaptconv.data.statistics import channel_statistics


class ImageSource(Protocol):
    """Labelled images that can be had by their indices."""

    labels: Tensor

    def fetch(
        self, indices: Tensor, edges: Sequence[int], key: tuple[int, int] | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (uint8 images, int64 labels) on `device` for every `indices[edges[b] : edges[b + 1]]`.

        Args:
            indices: shape (N,); those of images in memory may be on `device` already.
            edges: where batches begin and end, increasing.
            key: (seed, epoch), from which random crops may be drawn; None for evaluation.
            device: where the batches shall be.
        """
        ...


class ResidentImages:
    """Images that sit in memory, and on the device once a batch is asked for there.

    Args:
        images: uint8 pixels, shape (N, C, H, W).
        labels: class indices, int64, shape (N,); -1 where unknown.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels
        self._device = torch.device("cpu")
        self._on_device = (images, labels)

    def fetch(
        self, indices: Tensor, edges: Sequence[int], key: tuple[int, int] | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches; see `ImageSource.fetch`."""
        if self._device != device:
            self._device = device
            self._on_device = (self.images.to(device), self.labels.to(device))
        images, labels = self._on_device
        indices = indices.to(device)
        for begin, end in pairwise(edges):
            batch = indices[begin:end]
            yield images.index_select(0, batch), labels.index_select(0, batch)

    def statistics(self, indices: Tensor) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over some of the images; see `channel_statistics`."""
        chunks = (self.images[chunk].numpy() for chunk in torch.split(indices, 1024))
        return channel_statistics(chunks, self.images.shape[1])


@dataclass(frozen=True)
class Split:
    """The images of `source` that belong together.

    Attributes:
        source: labelled images.
        indices: which of them, in the order of evaluation, shape (N,).
    """

    source: ImageSource
    indices: Tensor

    @classmethod
    def whole(cls, source: ImageSource) -> Split:
        """All images of `source`."""
        return cls(source, torch.arange(len(source.labels)))

    @property
    def labels(self) -> Tensor:
        """The labels of the split, shape (N,)."""
        return self.source.labels[self.indices]
