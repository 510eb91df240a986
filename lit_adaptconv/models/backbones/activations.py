"""The activations of a backbone, in the place of its ReLU."""

from __future__ import annotations

from typing import Literal

from torch import nn

from lit_adaptconv.models.swap import put

BlockActivation = Literal["relu", "relu6", "leaky_relu", "prelu", "gelu", "identity"]
"""`prelu` has one slope for each activation, that of He et al., *Delving Deep into Rectifiers*, ICCV 2015, which all
channels share; `gelu` is that of Hendrycks and Gimpel, 2016."""

BLOCK_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}


def set_activation(network: nn.Module, activation: BlockActivation) -> None:
    """Put an activation in the place of every ReLU and ReLU6 of a network that has no layers of a kind yet."""
    made = BLOCK_ACTIVATIONS[activation]
    found = [module for module in network.modules() if type(module) in (nn.ReLU, nn.ReLU6)]
    put(network, {old: made() for old in found if type(old) is not made})
