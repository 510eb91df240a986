"""Every place that a convolution has in a backbone of this package, and a network that is nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from short_networks import BACKBONES
from torch import Tensor, nn

from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.models.parameter_formula import on_meta


def two_sizes(network: type[Backbone]) -> tuple[tuple[int, int], tuple[int, int]]:
    """A small image, and one that gets the other stem where a network has two, else one that is not square."""
    return (32, 32), (64, 72) if "stem" in inspect.signature(network).parameters else (32, 40)


@dataclass(frozen=True, order=True)
class Place:
    """A convolution of a backbone, but for the number of its channels."""

    kernel_size: int
    stride: int
    padding: str
    depthwise: bool
    bias: bool
    widens: bool

    def layer(self, kind: str) -> nn.Module:
        padding = int(self.padding) if self.padding.isdigit() else self.padding
        groups = 4 if self.depthwise else 1
        out_channels = 6 if self.widens else 4
        return conv_kind(kind)(4, out_channels, self.kernel_size, self.stride, padding, 1, groups, self.bias)


def places(network: type[Backbone]) -> set[Place]:
    """The places that a backbone has for a kind, with either stem."""
    found: set[Place] = set()

    def record(*args: Any, **options: Any) -> nn.Module:
        layer = nn.Conv2d(*args, **options)
        padding = layer.padding if isinstance(layer.padding, str) else str(layer.padding[0])
        widens = layer.in_channels != layer.out_channels
        found.add(
            Place(layer.kernel_size[0], layer.stride[0], padding, layer.groups > 1, layer.bias is not None, widens)
        )
        return layer

    for size in two_sizes(network):
        on_meta(lambda size=size: network(3, 10, size, record, 1.0))  # type: ignore[misc]
    return found


PLACES = sorted(set().union(*map(places, BACKBONES)))
SMALL = [place for place in PLACES if place.kernel_size < 7]
"""Places in which a kind that treats each tap by itself has no hundreds of them, which take exporters minutes."""


def covering(places: Sequence[Place]) -> list[Place]:
    """Few of the places in which every kernel size, stride, padding and so on of all of them stands."""
    left = {each for place in places for each in asdict(place).items()}
    found: list[Place] = []
    while left:
        best = max(places, key=lambda place: len(left & set(asdict(place).items())))
        found.append(best)
        left -= set(asdict(best).items())
    return found


class Everywhere(nn.Module):
    """A kind in places of backbones, side by side: one graph is quicker than one for each."""

    def __init__(self, kind: str, places: Sequence[Place] = PLACES) -> None:
        super().__init__()
        self.layers = nn.ModuleList(place.layer(kind) for place in places)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [layer(images) for layer in self.layers]


class Flat(Everywhere):
    """The same, as if it were logits."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat([output.flatten(1) for output in super().forward(images)], dim=1)
