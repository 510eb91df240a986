"""How adaptive layers start: the variance that keeps activations at the same scale through depth."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from lit_adaptconv.ops.activation import GateActivation

Init = Literal["balanced", "default"]
"""How an adaptive layer starts: so that its outputs keep the variance of a standardised input, or as PyTorch's own
convolutions of these shapes would."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def second_moment(activation: GateActivation, mean: float, std: float) -> float:
    """E[act(z)²] for z normal with this mean and standard deviation (Gauss-Hermite quadrature)."""
    z = mean + std * _NODES
    if activation == "tanh":
        z = np.tanh(z)
    elif activation == "sigmoid":
        z = 1 / (1 + np.exp(-z))
    return float((z**2 * _WEIGHTS).sum())


def tanh_input_std(output_variance: float) -> float:
    """The s with E[tanh(s z)²] = `output_variance`, for z standard normal; at most 4, where tanh saturates."""
    low, high = 0.0, 4.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if second_moment("tanh", 0.0, middle) < output_variance:
            low = middle
        else:
            high = middle
    return low


def uniform_bound(std: float) -> float:
    """The b for which U(-b, b) has this standard deviation."""
    return math.sqrt(3.0) * std


def draw(parameter: Tensor, std: float) -> None:
    """Draw numbers uniformly, with mean 0 and this standard deviation."""
    bound = uniform_bound(std)
    nn.init.uniform_(parameter, -bound, bound)


def draw_as_conv2d(fan_in: int, *parameters: Tensor | None) -> None:
    """Draw weights and biases of filters of `fan_in` taps as `nn.Conv2d` does: U(-b, b) with b = 1 / √fan_in."""
    for parameter in parameters:
        if parameter is not None:
            nn.init.uniform_(parameter, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


class PartLinear(nn.Linear):
    """A linear layer whose parameters the layer that it is a part of draws.

    So a start on the meta device, where whoever allocates the memory then calls `reset_parameters` of every module, in
    whatever order, ends with the layer's own initialisation.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        nn.Linear.reset_parameters(self)  # a seed gives the same layer as if this were an nn.Linear

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""


class PartConv2d(nn.Conv2d):
    """A convolution whose parameters the layer that it is a part of draws, as `PartLinear`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        nn.Conv2d.reset_parameters(self)

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""
