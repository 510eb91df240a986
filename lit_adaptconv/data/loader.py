"""The loader: batches in the order of an epoch, ready for the network, resumable in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lit_adaptconv.data.order import BatchOrder, generator
from lit_adaptconv.data.preprocess import Draws, Preprocess
from lit_adaptconv.data.source import ImageSource, ResidentImages
from lit_adaptconv.errors import UserError


class PlannedBatch(NamedTuple):
    """What a batch consists of.

    Attributes:
        indices: which images, shape (B,), on the device where the batch is made.
        draws: how they are augmented; None where they are not.
    """

    indices: Tensor
    draws: Draws | None


class BatchLoader:
    """Yields (images float32 (B, C, H, W), labels int64 (B,)) on a device; labels of mixed images are float32.

    The order and the augmentation of epoch e depend on (seed, e) alone (and on the rank, where there are several
    processes): two networks trained with one seed see the same data, and a resumed run sees what it would have seen.
    The epoch is the one that `sampler.set_epoch` was told (Lightning does so before every epoch); a loop that tells
    none gets the next epoch each time it has taken the last batch.

    `state_dict` and `load_state_dict` are what Lightning looks for in a resumable loader: the next iteration starts
    behind the last batch handed out, if it is still of that epoch.

    Args:
        source: the images.
        subset: the indices into `source` that belong to this split, shape (N,).
        order: how the N images are arranged; its `length` is N.
        preprocess: augmentation and normalisation; it augments where `order.shuffle` is set.
        device: where the batches are made.
    """

    batch_sampler: None = None  # Lightning asks every loader that has a sampler for it

    def __init__(
        self, source: ImageSource, subset: Tensor, order: BatchOrder, preprocess: Preprocess, device: torch.device
    ) -> None:
        self.sampler = order
        self.source = source
        self._subset = subset
        self._preprocess = preprocess
        self._device = device
        self._position = (0, 0)  # epoch, and how many of its batches were handed out
        self._resuming = False

    def __len__(self) -> int:
        return len(self.sampler.edges()) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, (epoch, first) = self.sampler, self._begin()
        batches = self.source.fetch(
            self._subset[order.indices()],
            order.edges()[first:],
            (order.seed, epoch) if order.shuffle else None,
            self._device,
        )
        draws = self._draws(epoch)
        for number, (images, labels) in enumerate(batches, start=first):
            self._position = (epoch, number + 1)
            yield self._preprocess(images, labels, draws[number : number + 1])
        order.set_epoch(epoch + 1)

    def planned(self) -> Iterator[PlannedBatch]:
        """Yield what the batches consist of, without making them: `make` does, those of several loaders at once.

        Raises:
            UserError: the images are not in memory.
        """
        self._resident()
        order, (epoch, first) = self.sampler, self._begin()
        indices, draws = self._subset[order.indices()].to(self._device), self._draws(epoch)
        sizes = self._sizes()
        for number, batch in enumerate(torch.split(indices[: sum(sizes)], sizes)[first:], start=first):
            self._position = (epoch, number + 1)
            yield PlannedBatch(batch, draws[number] if draws else None)
        order.set_epoch(epoch + 1)

    def make(self, planned: Sequence[PlannedBatch]) -> tuple[Tensor, Tensor]:
        """Make the batches that loaders of the same images have planned, one after the other in one.

        Raises:
            UserError: the images are not in memory.
        """
        indices = torch.cat([batch.indices for batch in planned])
        ((images, labels),) = self._resident().fetch(indices, (0, len(indices)), None, self._device)
        return self._preprocess(images, labels, [batch.draws for batch in planned if batch.draws is not None])

    def _resident(self) -> ResidentImages:
        if not isinstance(self.source, ResidentImages):
            raise UserError("the images are read as they are needed, not kept in memory")
        return self.source

    def _draws(self, epoch: int) -> list[Draws]:
        """Draw how each batch of an epoch is augmented; empty where none is."""
        order = self.sampler
        if not order.shuffle or not self._preprocess.is_random:
            return []
        # 1: a key that ends in zeros is the key without them, which draws the permutation
        return self._preprocess.draw(self._sizes(), generator(order.seed, epoch, 1, order.rank))

    def _sizes(self) -> list[int]:
        """The numbers of images of an epoch's batches."""
        return [end - begin for begin, end in pairwise(self.sampler.edges())]

    def _begin(self) -> tuple[int, int]:
        """The epoch that an iteration is of, and the number of its first batch."""
        epoch, first = self._position
        if not self._resuming or epoch != self.sampler.epoch:
            epoch, first = self.sampler.epoch, 0
        self._resuming = False
        return epoch, first

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, the number of its batches handed out, and how many it has."""
        epoch, batch = self._position
        if epoch != self.sampler.epoch:
            epoch, batch = self.sampler.epoch, 0
        return {"epoch": epoch, "batch": batch, "batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue behind the batch at which `state_dict` was taken.

        Raises:
            UserError: it was taken within an epoch that had another number of batches.
        """
        epoch, batch, batches = (state_dict[key] for key in ("epoch", "batch", "batches"))
        if 0 < batch < batches != len(self):
            raise UserError(
                f"the checkpoint was saved after batch {batch} of {batches} of an epoch, which now has {len(self)}: "
                "resume with the same data, batch_size and number of devices"
            )
        self.sampler.set_epoch(epoch)
        self._position = (epoch, batch)
        self._resuming = True
