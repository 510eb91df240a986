"""Find the widest network within a budget of parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.backbones.base import Backbone, Width
from lit_adaptconv.models.parameter_formula import find_formula, on_meta

CLOSE_ENOUGH = 0.98
"""A network with this share of its budget is as good as one that meets it exactly."""
EVEN_ENOUGH = 1.25
"""Proportions that differ by this factor from layer to layer are not searched for better ones."""


@dataclass(frozen=True)
class Fit:
    """A network that meets a budget: its layers' widths and its exact number of parameters."""

    widths: tuple[int, ...]
    parameters: int


Size = Callable[[tuple[int, ...]], int]
"""Counts the parameters of the network with these widths."""
Build = Callable[[Conv, Width], Backbone]
"""Makes the backbone for a conv kind and a width."""


def fit_budget(build: Build, conv: Conv, budget: int) -> Fit:
    """Find the widest network with at most `budget` trainable parameters; see `Family`."""
    return Family(build).fit(conv, budget)


class Family:
    """The networks of one architecture, of every conv kind and all widths.

    Args:
        build: Makes the backbone for a conv kind and a width; it is called on the meta device, a few times, so nothing
            is allocated. What follows from it is kept for every kind and budget.
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        usual = on_meta(lambda: build(nn.Conv2d, 1.0))
        self._name, self._base = type(usual).__name__, usual.widths
        self._formula = find_formula(build, self._base)
        self._known: dict[tuple[Conv, tuple[int, ...]], int] = {}

    def parameters(self, conv: Conv, widths: tuple[int, ...]) -> int:
        """Return the number of trainable parameters of the network of this kind with these widths."""
        key = (conv, widths)
        if key not in self._known:
            self._known[key] = self._formula(conv, widths) if self._formula else self._built(conv, widths)
        return self._known[key]

    def _built(self, conv: Conv, widths: tuple[int, ...]) -> int:
        return count_parameters(on_meta(lambda: self._build(conv, widths)))

    def fit(self, conv: Conv, budget: int) -> Fit:
        """Find the widest network of a kind with at most `budget` trainable parameters.

        First the largest common factor on all widths, by bisection; then single layers are widened by one, those
        furthest behind their usual proportion first, until every such widening would exceed the budget. If less than
        98 % of the budget is used, each layer is tried one or two narrower, yet not below half its proportion, with
        the rest widened again, and the largest network is kept. Where this leaves layers that are more than 1.25 times
        as wide, in proportion, as others, the networks around it are searched for one that is as good and has the most
        even proportions: a layer of one channel between layers of six would be a handicap of its own.

        Raises:
            UserError: Even the narrowest network is larger (the message names its size), or widths change nothing.
        """
        base, size = self._base, partial(self.parameters, conv)
        smallest = tuple(1 for _ in base)
        if size(smallest) > budget:
            raise UserError(
                f"no network of this family has at most {budget:,} parameters: the narrowest "
                f"(widths {'-'.join(map(str, smallest))}) has {size(smallest):,}"
            )

        def scaled(factor: float) -> tuple[int, ...]:
            return tuple(max(1, round(width * factor)) for width in base)

        if size(scaled(2.0)) == size(base):
            raise UserError(f"the width of {self._name} changes no parameter, so no budget can be met with it")
        low, high = 0.0, 1.0
        while size(scaled(high)) <= budget:
            low, high = high, 2 * high
        while scaled(low) != scaled(high) and high - low > 1e-4 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if size(scaled(middle)) <= budget else (low, middle)
        best = _fill(scaled(low), base, size, budget)
        if size(best) < CLOSE_ENOUGH * budget:
            least = [max(1.0, width * low / 2) for width in base]
            narrower = [
                (i, width - less) for i, width in enumerate(best) for less in (1, 2) if width - less >= least[i]
            ]
            others = [((*best[:i], width, *best[i + 1 :]), i) for i, width in narrower]
            # A kind may need more where channel counts differ: narrower is not always smaller.
            filled = [_fill(widths, base, size, budget, last=i) for widths, i in others if size(widths) <= budget]
            best = max([best, *filled], key=size)
        best = self._most_even(best, size, budget)
        return Fit(best, size(best))

    def _most_even(self, widths: tuple[int, ...], size: Size, budget: int) -> tuple[int, ...]:
        """Find the most even network among `widths` and those near it with at least 98 % of the budget."""

        def unevenness(widths: tuple[int, ...]) -> float:
            proportions = [width / usual for width, usual in zip(widths, self._base, strict=True)]
            return max(proportions) / min(proportions)

        if unevenness(widths) <= EVEN_ENOUGH or len(widths) > 6:  # a deep network's neighbours are too many to try
            return widths
        step = 2 if len(widths) <= 4 else 1
        near = itertools.product(*(range(max(1, width - step), width + step + 1) for width in widths))
        good = [other for other in near if CLOSE_ENOUGH * budget <= size(other) <= budget]
        return min([widths, *good], key=lambda other: (unevenness(other), -size(other)))


def _fill(
    widths: tuple[int, ...],
    base: Sequence[int],
    size: Size,
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
