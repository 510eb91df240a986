"""The activations that may follow a block's BatchNorm."""

from __future__ import annotations

from typing import Literal

from torch import nn

BlockActivation = Literal["relu", "leaky_relu", "identity"]

BLOCK_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "identity": nn.Identity,
}
