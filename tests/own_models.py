"""LightningModules whose size is set in different ways; none is trained."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lit_adaptconv.train.classifier import ImageClassifier


class Chain(pl.LightningModule):
    """Linear layers whose sides are multiples of a width, and others that have none of it."""

    def __init__(self, width: int = 4, multiples: Sequence[int] = (1, 2), fixed: int = 3) -> None:
        super().__init__()
        sides = [fixed, *(width * multiple for multiple in multiples), fixed]
        self.layers = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sides)))


class Scaled(pl.LightningModule):
    """Linear layers whose sides are the usual ones times a factor, rounded."""

    def __init__(self, factor: float = 1.0, usual: Sequence[int] = (4, 8), fixed: int = 3) -> None:
        super().__init__()
        sides = [fixed, *(max(1, round(side * factor)) for side in usual), fixed]
        self.layers = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sides)))


class Part(nn.Module):
    """A part with a size of its own."""

    def __init__(self, hidden: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(3, hidden)


class Whole(pl.LightningModule):
    """A module that is given its part."""

    def __init__(self, part: Part, dropout: float = 0.1, size: int | None = None, deep: bool = False) -> None:
        super().__init__()
        self.part, self.dropout = part, nn.Dropout(dropout)


class Numbers(pl.LightningModule):
    """Can't be built of shapes alone."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        rates = torch.linspace(0.1, 0.2, depth).tolist()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.Dropout(rate)) for rate in rates))


class Even(pl.LightningModule):
    """Has even widths alone."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even, got {width}")
        self.layer = nn.Linear(3, width)


class TwoConvolutions(pl.LightningModule):
    """Convolutions of two sizes, for images of three channels; it does not say how large these are."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 40, 3)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.large(self.small(images))
        return out


class OwnClassifier(ImageClassifier):
    """One of ours that someone has changed."""
