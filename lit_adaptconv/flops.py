"""Floating-point operations of a network, for one sample."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

TRAINING_FACTOR = 3
"""Training costs about three forward passes a sample: backward computes two products for each one of forward."""


def forward_flops(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Count the FLOPs of one forward pass of one sample, a multiply-add counting two.

    PyTorch's counter sees convolutions and matrix products. A layer whose arithmetic it does not see says so in a
    method `extra_flops(output_shape) -> int` (shape without the batch), which is added here. Activations,
    normalisation and pooling are not counted, as is usual.

    Args:
        module: The network, on any device (also "meta"). It is run once, in evaluation mode.
        input_shape: Shape of one sample, `(C, H, W)`.
    """
    extra = 0

    def add(layer: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal extra
        extra += layer.extra_flops(tuple(output.shape[1:]))  # type: ignore[operator]

    hooks = [m.register_forward_hook(add) for m in module.modules() if hasattr(m, "extra_flops")]
    parameter = next(module.parameters(), torch.empty(0))
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            module(torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for m in training:
            m.training = True
    return int(counter.get_total_flops()) + extra


def elementwise_product_flops(output_shape: tuple[int, ...], terms: int) -> int:
    """FLOPs of an output whose every element is a sum of `terms` products."""
    return 2 * terms * math.prod(output_shape)
