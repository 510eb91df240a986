"""Where the time of the fused adaptive convolution goes: its parts, found by leaving them out one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lit_adaptconv.layers.adaptive import AdaptiveConv2d
from lit_adaptconv.measure.candidate import Step
from lit_adaptconv.measure.timing import Task, Times, in_turns
from lit_adaptconv.ops import schema
from lit_adaptconv.ops.choice import implementation
from lit_adaptconv.ops.geometry import sides

VARIANTS = 7
"""Calls that `split` times in each round."""


@dataclass(frozen=True)
class Part:
    """A part of a training step.

    Attributes:
        name: What it does.
        seconds: Time, the median over rounds of the difference between with it and without it.
        multiply_adds: Its multiply-adds, of those that are counted; tanh and copies have none.
    """

    name: str
    seconds: float
    multiply_adds: int


def can_be_split(step: Step) -> bool:
    """Whether the layer is one that the fused CPU implementation computes, and is not compiled into something else."""
    layer = step.layer
    if step.run is not layer:
        return False
    with step.candidate.running():
        fused = implementation(step.input.device.type, step.input.dtype) == "cpu"
    return fused and isinstance(layer, AdaptiveConv2d) and layer.kernel_activation == "tanh"


def split(step: Step, threads: int, rounds: int, advance: Callable[[], None] = lambda: None) -> tuple[Part, ...]:
    """Time the operator with parts of it left out, and take the differences.

    Args:
        step: A layer for which `can_be_split` holds.
        threads: CPU threads.
        rounds: Turns of each variant.
        advance: Called after every turn.
    """
    layer = step.layer
    assert isinstance(layer, AdaptiveConv2d)
    around = sides(layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    geometry = ([*layer.kernel_size], [*layer.stride], [*around], [*layer.dilation], layer.groups)
    tensors = (step.input.detach(), layer.generator_weight.detach(), layer.generator_bias.detach())
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(activation: str) -> Callable[[], object]:
        return lambda: schema.FORWARD(*tensors, bias, *geometry, activation)

    def backward(activation: str, *needs: bool) -> Callable[[], object]:
        return lambda: schema.BACKWARD(step.grad_output, *tensors, *geometry, activation, *needs)

    calls: dict[str, Callable[[], Any]] = {
        "training": step.training,
        "forward": forward("tanh"),
        "forward, no tanh": forward("identity"),
        "backward": backward("tanh", True, True),
        "kernels and weights": backward("tanh", False, True),
        "kernels": backward("tanh", False, False),
        "kernels, no tanh": backward("identity", False, False),
    }
    taken = in_turns([Task(call, threads) for call in calls.values()], rounds, advance)
    times = dict(zip(calls, taken, strict=True))

    def between(more: str, *less: str) -> float:
        rows = zip(*(times[name].seconds for name in (more, *less)), strict=True)
        return Times(tuple(first - sum(others) for first, *others in rows)).spread.median

    taps, window = layer.generator_bias.shape[-1], layer.generator_weight[0, 0].numel()
    each = step.grad_output.numel() * layer.generator_bias.shape[1] * taps
    products = each * (window + 1)
    return (
        Part("forward: generate kernels, apply them, copy in and out", between("forward, no tanh"), products),
        Part("forward: tanh", between("forward", "forward, no tanh"), 0),
        Part("backward: generate kernels again, apply them, copy in", between("kernels, no tanh"), 0),
        Part("backward: tanh again, and its derivative", between("kernels", "kernels, no tanh"), 0),
        Part("backward: gradients of the weights", between("kernels and weights", "kernels"), products),
        Part("backward: gradient of the input, copy out", between("backward", "kernels and weights"), products),
        Part("outside of the operator: autograd, Python", between("training", "forward", "backward"), 0),
    )
