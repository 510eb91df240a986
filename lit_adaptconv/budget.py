"""Count parameters, and find the widest network within a budget of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lit_adaptconv.backbones.base import Backbone, Width
from lit_adaptconv.errors import UserError

CLOSE_ENOUGH = 0.98
"""A network with this share of its budget is as good as one that meets it exactly."""


def count_parameters(module: nn.Module) -> int:
    """Count the trainable parameters: weights, generators, biases, normalisation; a shared one counts once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@dataclass(frozen=True)
class Fit:
    """A network that meets a budget: its layers' widths and its exact number of parameters."""

    widths: tuple[int, ...]
    parameters: int


def fit_budget(build: Callable[[Width], Backbone], budget: int) -> Fit:
    """Find the widest network with at most `budget` trainable parameters.

    First the largest common factor on all widths, by bisection; then single layers are widened by one, those furthest
    behind their usual proportion first, while the budget allows it. If less than 98 % of the budget is used, each layer
    is tried one or two narrower with the rest widened again, and the largest network is kept.

    Args:
        build: Makes the backbone for a width; it is called on the meta device, so nothing is allocated.
        budget: Largest number of trainable parameters.

    Raises:
        UserError: Even the narrowest network is larger; the message names its size.
    """
    sizes: dict[tuple[int, ...], int] = {}

    def size(widths: Sequence[int]) -> int:
        key = tuple(widths)
        if key not in sizes:
            sizes[key] = count_parameters(_on_meta(build, key))
        return sizes[key]

    base = _on_meta(build, 1.0).widths
    smallest = tuple(1 for _ in base)
    if size(smallest) > budget:
        raise UserError(
            f"no network of this family has at most {budget:,} parameters: the narrowest "
            f"(widths {'-'.join(map(str, smallest))}) has {size(smallest):,}"
        )

    def scaled(factor: float) -> tuple[int, ...]:
        return tuple(max(1, round(width * factor)) for width in base)

    low, high = 0.0, 1.0
    while size(scaled(high)) <= budget:
        low, high = high, 2 * high
    while scaled(low) != scaled(high) and high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if size(scaled(middle)) <= budget else (low, middle)
    best = _fill(scaled(low), base, size, budget)
    if size(best) < CLOSE_ENOUGH * budget:
        narrower = [(layer, width - less) for layer, width in enumerate(best) for less in (1, 2) if width > less]
        others = [_fill((*best[:i], width, *best[i + 1 :]), base, size, budget, kept=i) for i, width in narrower]
        best = max([best, *others], key=size)
    return Fit(best, size(best))


def _on_meta(build: Callable[[Width], Backbone], width: Width) -> Backbone:
    with torch.device("meta"):
        return build(width)


def _fill(
    widths: tuple[int, ...],
    base: Sequence[int],
    size: Callable[[Sequence[int]], int],
    budget: int,
    kept: int | None = None,
) -> tuple[int, ...]:
    """Widen single layers by one until none can be widened within the budget; `kept` stays as it is."""
    filled = list(widths)
    growing = {layer for layer in range(len(filled)) if layer != kept}
    while growing:
        layer = min(growing, key=lambda i: filled[i] / base[i])
        filled[layer] += 1
        if size(filled) > budget:
            filled[layer] -= 1
            growing.discard(layer)
    return tuple(filled)
