"""Find the widest network within a budget of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from lit_adaptconv.backbones.base import Backbone, Width
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.conv import Conv
from lit_adaptconv.parameter_formula import count_parameters as count_parameters
from lit_adaptconv.parameter_formula import find_formula, on_meta

CLOSE_ENOUGH = 0.98
"""A network with this share of its budget is as good as one that meets it exactly."""


@dataclass(frozen=True)
class Fit:
    """A network that meets a budget: its layers' widths and its exact number of parameters."""

    widths: tuple[int, ...]
    parameters: int


def fit_budget(build: Callable[[Conv, Width], Backbone], conv: Conv, budget: int) -> Fit:
    """Find the widest network with at most `budget` trainable parameters.

    First the largest common factor on all widths, by bisection; then single layers are widened by one, those furthest
    behind their usual proportion first, until every such widening would exceed the budget. If less than 98 % of the
    budget is used, each layer is tried one or two narrower, yet not below half its proportion, with the rest widened
    again, and the largest network is kept.

    Args:
        build: Makes the backbone for a conv kind and a width; it is called on the meta device, a few times, so nothing
            is allocated.
        conv: The conv kind.
        budget: Largest number of trainable parameters.

    Raises:
        UserError: Even the narrowest network is larger (the message names its size), or widths change nothing.
    """
    usual = on_meta(lambda: build(nn.Conv2d, 1.0))
    base = usual.widths
    size = _Sizes(build, conv, base)
    smallest = tuple(1 for _ in base)
    if size(smallest) > budget:
        raise UserError(
            f"no network of this family has at most {budget:,} parameters: the narrowest "
            f"(widths {'-'.join(map(str, smallest))}) has {size(smallest):,}"
        )

    def scaled(factor: float) -> tuple[int, ...]:
        return tuple(max(1, round(width * factor)) for width in base)

    if size(scaled(2.0)) == size(base):
        raise UserError(f"the width of {type(usual).__name__} changes no parameter, so no budget can be met with it")
    low, high = 0.0, 1.0
    while size(scaled(high)) <= budget:
        low, high = high, 2 * high
    while scaled(low) != scaled(high) and high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if size(scaled(middle)) <= budget else (low, middle)
    best = _fill(scaled(low), base, size, budget)
    if size(best) < CLOSE_ENOUGH * budget:
        least = [max(1.0, width * low / 2) for width in base]
        narrower = [(i, width - less) for i, width in enumerate(best) for less in (1, 2) if width - less >= least[i]]
        others = [_fill((*best[:i], width, *best[i + 1 :]), base, size, budget, last=i) for i, width in narrower]
        best = max([best, *others], key=size)
    return Fit(best, size(best))


class _Sizes:
    """Number of parameters for widths: by formula where there is one, else by building on the meta device."""

    def __init__(self, build: Callable[[Conv, Width], Backbone], conv: Conv, base: Sequence[int]) -> None:
        self._build = build
        self._conv = conv
        self._formula = find_formula(build, conv, base)
        self._known: dict[tuple[int, ...], int] = {}

    def __call__(self, widths: tuple[int, ...]) -> int:
        if widths not in self._known:
            self._known[widths] = self._formula(widths) if self._formula else self._built(widths)
        return self._known[widths]

    def _built(self, widths: tuple[int, ...]) -> int:
        return count_parameters(on_meta(lambda: self._build(self._conv, widths)))


def _fill(
    widths: tuple[int, ...],
    base: Sequence[int],
    size: Callable[[tuple[int, ...]], int],
    budget: int,
    last: int | None = None,
) -> tuple[int, ...]:
    """Widen single layers by one until none can be widened within the budget; layer `last` only after all others."""

    def widened(layer: int) -> tuple[int, ...]:
        return (*widths[:layer], widths[layer] + 1, *widths[layer + 1 :])

    while True:
        order = sorted(range(len(base)), key=lambda i: (i == last, widths[i] / base[i]))
        fitting = next((i for i in order if size(widened(i)) <= budget), None)
        if fitting is None:
            return widths
        widths = widened(fitting)
