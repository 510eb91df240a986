"""Arguments of `gated_sum`, by case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GatedCase:
    """What the operator distinguishes."""

    rank: int = 2
    channels: int = 6
    groups: int = 2
    shared: bool = False
    stacked: bool = True
    biased: bool = True
    activation: str = "tanh"


def arguments(
    case: GatedCase,
    images: int = 2,
    size: tuple[int, int] = (3, 4),
    dtype: torch.dtype = torch.float64,
    memory: torch.memory_format = torch.contiguous_format,
) -> list[Any]:
    """Random tensors that need gradients, the groups and the activation."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        out = torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)
        return (out.to(memory_format=memory) if len(shape) == 4 else out).requires_grad_()

    gates = case.groups if case.shared else case.channels
    both = case.rank * (gates + case.channels)
    return [
        normal(images, both if case.stacked else case.rank * gates, *size),
        None if case.stacked else normal(images, case.rank * case.channels, *size),
        normal(case.rank, gates),
        normal(case.channels) if case.biased else None,
        case.groups,
        case.activation,
    ]
