"""Which images of the test a classifier got right, a bit each, in the order of the data."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class ImageBits:
    """What a test found, image by image.

    Attributes:
        images: Number of images.
        labels: Checksum of their labels in order: trials with the same one were tested on the same images.
        correct: Base64 of one bit an image, 1 where the label was found; the first of a byte's is its highest.

    Raises:
        ValueError: There are not as many bits as images.
    """

    images: int
    labels: str
    correct: str

    def __post_init__(self) -> None:
        if len(self.bits) != -(-self.images // 8):
            raise ValueError(f"{8 * len(self.bits)} bits are not those of {self.images} images")

    @property
    def bits(self) -> bytes:
        """The bits, eight a byte."""
        return base64.b64decode(self.correct, validate=True)


class BitCollector:
    """Collects the batches of a test; a module that has one as its attribute `tested` leaves the bits in its result."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []

    def clear(self) -> None:
        """Forget what was collected."""
        self._batches = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: Shape `(N, num_classes)`.
            labels: Shape `(N,)`.
        """
        self._batches.append((logits.argmax(1) == labels, labels))

    def images(self, trainer: pl.Trainer) -> ImageBits | None:
        """What was collected, of all processes together, each image once; all processes have to ask.

        Returns:
            None where nothing was collected, or the processes shared the images in another way than Lightning's
            samplers and this package's loader: by turns.
        """
        batches, self._batches = self._batches, []
        own = [torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True)] if batches else None
        found: list[Any] = [own]
        if dist.is_available() and dist.is_initialized():
            found *= dist.get_world_size()
            dist.all_gather_object(found, own)
        if any(part is None for part in found):
            return None
        number = sum(len(part[0]) for part in found)
        if [len(part[0]) for part in found] != [len(range(rank, number, len(found))) for rank in range(len(found))]:
            return None
        correct, labels = (np.empty(number, found[0][place].dtype) for place in range(2))
        for rank, part in enumerate(found):
            correct[rank :: len(found)], labels[rank :: len(found)] = part
        if len(found) > 1:  # Lightning's sampler repeats images, so that all processes have equally many
            (loader,) = tree_leaves(trainer.test_dataloaders)
            number = min(number, len(getattr(loader, "dataset", labels)))
        checksum = zlib.crc32(labels[:number].astype("<i8").tobytes())
        bits = np.packbits(correct[:number]).tobytes()
        return ImageBits(number, f"{checksum:08x}", base64.b64encode(bits).decode())
