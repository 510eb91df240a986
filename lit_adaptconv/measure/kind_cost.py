"""What one layer of a conv kind costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.count import count_parameters, forward_flops


@dataclass(frozen=True)
class KindCost:
    """Trainable parameters of one layer, and FLOPs of its forward pass of one image (a multiply-add counts two)."""

    parameters: int
    flops: int


def kind_cost(kind: str) -> KindCost:
    """Count what the layer costs that `Kind.parameters` and `Kind.flops` tell of; nothing is computed (meta device)."""
    with torch.device("meta"):
        layer = conv_kind(kind)(16, 16, 3, padding=1)
        return KindCost(count_parameters(layer), forward_flops(layer, (16, 32, 32)))
