"""Which images make up which batch of which epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_adaptconv.errors import UserError


def generator(*key: int) -> torch.Generator:
    """Return a CPU generator whose numbers depend on `key` alone, not on the global random state."""
    low, high = np.random.SeedSequence(key).generate_state(2).tolist()
    return torch.Generator().manual_seed((high << 32 | low) >> 1)


@dataclass
class BatchOrder:
    """The share of one process in every epoch, cut into batches.

    Training (`shuffle`): epoch e is a permutation that depends on (`seed`, e) alone, padded from its own start to a
    multiple of `world_size`, of which process `rank` takes every `world_size`-th: all take equally many steps. A last
    batch of one image is left out, since BatchNorm cannot normalise a single value; with `drop_last` every incomplete
    last batch is, unless it is the only one.

    Evaluation: the given order, nothing padded and nothing repeated. With several processes the batches of a process
    differ by at most one image in size, so that all of them see equally many batches.

    `set_epoch` has the name by which Lightning and Fabric tell a sampler the epoch.
    """

    length: int
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.length < self.world_size:
            raise UserError(f"{self.length} images cannot be shared among {self.world_size} processes")

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of the iteration that starts next."""
        self.epoch = epoch

    def indices(self) -> Tensor:
        """Return the indices this process takes in the current epoch, in order."""
        if not self.shuffle:
            return torch.arange(self.rank, self.length, self.world_size)
        order = torch.randperm(self.length, generator=generator(self.seed, self.epoch))
        padding = -self.length % self.world_size
        return torch.cat([order, order[:padding]])[self.rank :: self.world_size]

    def edges(self) -> list[int]:
        """Return where batches begin and end: batch b is `indices()[edges[b] : edges[b + 1]]`."""
        longest = math.ceil(self.length / self.world_size)
        if not self.shuffle and self.world_size > 1:
            share = len(range(self.rank, self.length, self.world_size))
            batches = min(math.ceil(longest / self.batch_size), self.length // self.world_size)
            return [share * batch // batches for batch in range(batches + 1)]
        edges = [*range(0, longest, self.batch_size), longest]
        left = edges[-1] - edges[-2]
        if self.shuffle and len(edges) > 2 and (left == 1 or (self.drop_last and left < self.batch_size)):
            edges.pop()
        return edges
