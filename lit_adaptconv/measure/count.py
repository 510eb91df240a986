"""Count what a network consists of and computes: trainable parameters, and floating-point operations for one sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

TRAINING_FACTOR = 3
"""Training costs about three forward passes a sample: backward computes two products for each one of forward."""


def count_parameters(module: nn.Module) -> int:
    """Count the trainable parameters: weights, generators, biases, normalisation; a shared one counts once.

    A lazy module's, which have no shape before its first batch, are not counted.
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad and not is_lazy(p))


class FlopMeter:
    """Counts the FLOPs of what a module computes in the `with` block, a multiply-add counting two.

    PyTorch's counter sees convolutions and matrix products. A layer whose arithmetic it does not see says so in a
    method `extra_flops(output_shape) -> int` (shape without the batch), which is added here. Activations,
    normalisation and pooling are not counted, as is usual.

    Args:
        module: The network; it must be run on a batch of one.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = [layer for layer in module.modules() if hasattr(layer, "extra_flops")]
        self._counter = FlopCounterMode(display=False)
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._extra = 0

    @property
    def total(self) -> int:
        """FLOPs so far."""
        return int(self._counter.get_total_flops()) + self._extra

    def __enter__(self) -> FlopMeter:
        self._hooks = [layer.register_forward_hook(self._add) for layer in self._layers]
        self._counter.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._counter.__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def _add(self, layer: nn.Module, args: Any, output: Tensor) -> None:
        self._extra += layer.extra_flops(tuple(output.shape[1:]))  # type: ignore[operator]


def flops_of(module: nn.Module) -> int | None:
    """FLOPs of a forward pass of one sample, as the module says or as its example shows.

    Args:
        module: Any module. Its attribute `flops` is taken, else it is run on one sample of the shape of its
            `example_input_array`, as a LightningModule may have one.

    Returns:
        None where it has neither.
    """
    own, example = getattr(module, "flops", None), getattr(module, "example_input_array", None)
    if isinstance(own, int):
        return own
    return forward_flops(module, tuple(example.shape[1:])) if isinstance(example, Tensor) else None


def forward_flops(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Count the FLOPs of one forward pass of one sample, as `FlopMeter` does.

    Args:
        module: The network, on any device (also "meta"). It is run once, in evaluation mode.
        input_shape: Shape of one sample, `(C, H, W)`.
    """
    parameter = next(module.parameters(), torch.empty(0))
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        with torch.no_grad(), FlopMeter(module) as meter:
            module(torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        for m in training:
            m.training = True
    return meter.total
