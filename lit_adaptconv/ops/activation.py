"""The activations that a generated kernel, a gate or an output may pass through, by name."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

Activation = Literal["tanh", "identity"]
GateActivation = Literal["tanh", "sigmoid", "identity"]


def check_activation(name: str, argument: str, known: Any = Activation) -> None:
    """Check the name of an activation.

    Raises:
        ValueError: `name` is not in the Literal `known`; the message names the argument and the known activations.
    """
    if name not in get_args(known):
        raise ValueError(f"{argument} must be one of {', '.join(get_args(known))}, got {name!r}")


def activate(x: Tensor, name: GateActivation) -> Tensor:
    """Apply the activation called `name`, element by element."""
    if name == "tanh":
        return torch.tanh(x)
    if name == "sigmoid":
        return torch.sigmoid(x)
    return x
