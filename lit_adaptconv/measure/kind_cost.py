"""What one layer of each conv kind costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lit_adaptconv.layers.kinds import KINDS
from lit_adaptconv.measure.count import forward_flops

CHANNELS, KERNEL_SIZE, IMAGE = 16, 3, 32
"""The layer whose cost is told: 16 to 16 channels, 3×3, on 32×32 images, padding 1, a bias, the kind's own defaults."""


@dataclass(frozen=True)
class KindCost:
    """Trainable parameters of one layer, and FLOPs of its forward pass of one image (a multiply-add counts two)."""

    parameters: int
    flops: int


def kind_cost(kind: str) -> KindCost:
    """Count what one layer of a kind costs; nothing is computed (meta device)."""
    layer = KINDS[kind](CHANNELS, CHANNELS, KERNEL_SIZE, padding=KERNEL_SIZE // 2, device=torch.device("meta"))
    return KindCost(
        parameters=sum(parameter.numel() for parameter in layer.parameters()),
        flops=forward_flops(layer, (CHANNELS, IMAGE, IMAGE)),
    )
