"""The activations that a generated kernel, a gate or an output may pass through, by name."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Activation = Literal["tanh", "identity"]
GateActivation = Literal["tanh", "sigmoid", "identity"]


def activate(x: Tensor, name: GateActivation) -> Tensor:
    """Apply the activation called `name`, element by element."""
    if name == "tanh":
        return torch.tanh(x)
    if name == "sigmoid":
        return torch.sigmoid(x)
    return x
