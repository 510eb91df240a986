"""Find the widest network within a budget: of parameters, FLOPs, bytes, or several of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.layers.sharing import shares
from lit_adaptconv.measure.budget import UNITS, Budget
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.backbones.base import Backbone, Width
from lit_adaptconv.models.parameter_formula import find_formula, measured, on_meta

CLOSE_ENOUGH = 0.98
"""A network with this share of its budget is as good as one that meets it exactly."""
EVEN_ENOUGH = 1.25
"""Proportions that differ by this factor from layer to layer are not searched for better ones."""


@dataclass(frozen=True)
class Fit:
    """A network that meets a budget: its layers' widths and its exact number of parameters."""

    widths: tuple[int, ...]
    parameters: int


Share = Callable[[tuple[int, ...]], float]
"""How much of its budget the network with these widths uses: of the limit that is nearest, if there are several."""
Build = Callable[[Conv, Width], Backbone]
"""Makes the backbone for a conv kind and a width."""


def fit_budget(build: Build, conv: Conv, budget: int | Budget, image_shape: tuple[int, int, int] | None = None) -> Fit:
    """Find the widest network within a budget; see `Family`.

    Args:
        build: Makes the backbone for a conv kind and a width.
        conv: The conv kind.
        budget: Largest number of trainable parameters, or a `Budget` with other limits too.
        image_shape: Shape `(C, H, W)` of an image; a limit of FLOPs needs it.

    Examples:
        >>> from lit_adaptconv.layers.kinds import conv_kind
        >>> from lit_adaptconv.models import ConvNet
        >>> build = lambda conv, width: ConvNet(3, 10, (32, 32), conv, width)
        >>> fit = fit_budget(build, conv_kind("adaptive_low_rank"), 5000)
        >>> fit.parameters <= 5000
        True
    """
    return Family(build, image_shape).fit(conv, budget)


class Family:
    """The networks of one architecture, of every conv kind and all widths.

    Args:
        build: Makes the backbone for a conv kind and a width; it is called on the meta device, so nothing is allocated:
            a few times for budgets of parameters, and once for every network that is tried for other limits. What
            follows from it is kept for every kind and budget.
        image_shape: Shape `(C, H, W)` of an image; a limit of FLOPs needs it.
    """

    def __init__(self, build: Build, image_shape: tuple[int, int, int] | None = None) -> None:
        self._build, self._image_shape = build, image_shape
        usual = on_meta(lambda: build(nn.Conv2d, 1.0))
        self._name, self._base = type(usual).__name__, usual.widths
        self._formula = find_formula(build, self._base)
        self._known: dict[tuple[Conv, tuple[int, ...]], int] = {}
        self._measured: dict[tuple[Conv, tuple[int, ...], Budget], dict[str, int]] = {}

    def parameters(self, conv: Conv, widths: tuple[int, ...]) -> int:
        """Return the number of trainable parameters of the network of this kind with these widths."""
        key = (conv, widths)
        if key not in self._known:
            # Layers that share parameters have together another number than each alone.
            formula = None if shares(conv) else self._formula
            self._known[key] = formula(conv, widths) if formula else count_parameters(self._built(conv, widths))
        return self._known[key]

    def sizes(self, conv: Conv, widths: tuple[int, ...], budget: Budget) -> dict[str, int]:
        """Return how much the network of this kind with these widths has of each thing that a budget limits."""
        if [*budget.limits] == ["parameters"]:
            return {"parameters": self.parameters(conv, widths)}
        key = (conv, widths, budget)
        if key not in self._measured:
            self._measured[key] = self._counted(conv, widths, budget)
        return self._measured[key]

    def _counted(self, conv: Conv, widths: tuple[int, ...], budget: Budget) -> dict[str, int]:
        return measured(
            lambda network: budget.sizes(network, self._image_shape),
            lambda: self._built(conv, widths),
            lambda: self._build(conv, widths),
        )

    def _built(self, conv: Conv, widths: tuple[int, ...]) -> Backbone:
        return on_meta(lambda: self._build(conv, widths))

    def _share(self, conv: Conv, budget: Budget) -> Share:
        def share(widths: tuple[int, ...]) -> float:
            limits = budget.limits
            if "parameters" in limits and (used := self.parameters(conv, widths) / limits["parameters"]) > 1:
                return used  # too large, so there is no need to run it
            return max(value / limits[name] for name, value in self.sizes(conv, widths, budget).items())

        return share

    def fit(self, conv: Conv, budget: int | Budget) -> Fit:
        """Find the widest network of a kind within a budget: a number of trainable parameters, or a `Budget`.

        First the largest common factor on all widths, by bisection; then single layers are widened by one, those
        furthest behind their usual proportion first, until every such widening would exceed the budget. If less than
        98 % of the budget is used, each layer is tried one or two narrower, yet not below half its proportion, with
        the rest widened again, and the largest network is kept. Where this leaves layers that are more than 1.25 times
        as wide, in proportion, as others, the networks around it are searched for one that is as good and has the most
        even proportions: a layer of one channel between layers of six would be a handicap of its own. Of several
        limits, the one of which a network uses the largest share says how much of the budget it uses; but the network
        of the limit of parameters alone is taken where it keeps the others.

        Raises:
            UserError: Even the narrowest network is larger (the message names its size), widths change nothing, or
                FLOPs are limited for a family without an image's shape.
        """
        budget = Budget.of(budget)
        base, share = self._base, self._share(conv, budget)
        self._check_narrowest(conv, budget)
        if "parameters" in budget.limits and len(budget.limits) > 1:
            alone = self.fit(conv, budget.limits["parameters"])
            if share(alone.widths) <= 1:
                return alone

        def scaled(factor: float) -> tuple[int, ...]:
            return tuple(max(1, round(width * factor)) for width in base)

        usual, double = (self.sizes(conv, scaled(factor), budget) for factor in (1.0, 2.0))
        if same := [UNITS[name] for name in usual if usual[name] == double[name]]:
            what = "parameter" if same[0] == "parameters" else same[0]
            raise UserError(f"the width of {self._name} changes no {what}, so no budget can be met with it")
        low, high = 0.0, 1.0
        while share(scaled(high)) <= 1:
            low, high = high, 2 * high
        while scaled(low) != scaled(high) and high - low > 1e-4 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if share(scaled(middle)) <= 1 else (low, middle)
        best = _fill(scaled(low), base, share)
        if share(best) < CLOSE_ENOUGH:
            least = [max(1.0, width * low / 2) for width in base]
            narrower = [
                (i, width - less) for i, width in enumerate(best) for less in (1, 2) if width - less >= least[i]
            ]
            others = [((*best[:i], width, *best[i + 1 :]), i) for i, width in narrower]
            # A kind may need more where channel counts differ: narrower is not always smaller.
            filled = [_fill(widths, base, share, last=i) for widths, i in others if share(widths) <= 1]
            best = max([best, *filled], key=share)
        best = self._most_even(best, share, counted=[*budget.limits] == ["parameters"])
        return Fit(best, self.parameters(conv, best))

    def _check_narrowest(self, conv: Conv, budget: Budget) -> None:
        smallest = tuple(1 for _ in self._base)
        for name, value in self.sizes(conv, smallest, budget).items():
            if value > budget.limits[name]:
                raise UserError(
                    f"no network of this family has at most {budget.text(name)}: the narrowest "
                    f"(widths {'-'.join(map(str, smallest))}) has {value:,}"
                )

    def _most_even(self, widths: tuple[int, ...], share: Share, counted: bool) -> tuple[int, ...]:
        """Find the most even network among `widths` and those near it with at least 98 % of the budget.

        Args:
            widths: The widths.
            share: How much of the budget a network uses.
            counted: Whether that is counted by a formula, so that more can be tried than where each is built and run.
        """

        def unevenness(widths: tuple[int, ...]) -> float:
            proportions = [width / usual for width, usual in zip(widths, self._base, strict=True)]
            return max(proportions) / min(proportions)

        deepest = 6 if counted else 4  # a deeper network's neighbours are too many to try
        if unevenness(widths) <= EVEN_ENOUGH or len(widths) > deepest:
            return widths
        step = 2 if len(widths) <= 4 and counted else 1
        near = itertools.product(*(range(max(1, width - step), width + step + 1) for width in widths))
        for _, alike in itertools.groupby(sorted([widths, *near], key=unevenness), unevenness):
            good = [other for other in alike if other == widths or CLOSE_ENOUGH <= share(other) <= 1]
            if good:
                return max(good, key=share)
        return widths


def _fill(widths: tuple[int, ...], base: Sequence[int], share: Share, last: int | None = None) -> tuple[int, ...]:
    """Widen single layers by one until none can be widened within the budget; layer `last` only after all others."""

    def widened(layer: int) -> tuple[int, ...]:
        return (*widths[:layer], widths[layer] + 1, *widths[layer + 1 :])

    refused: set[int] = set()  # did not fit, perhaps in a narrower network: they are tried again when no other is left
    widened_since = False
    while True:
        for i in sorted(range(len(base)), key=lambda i: (i == last, widths[i] / base[i])):
            if i in refused:
                continue
            if share(widened(i)) <= 1:
                widths, widened_since = widened(i), bool(refused)
                break
            refused.add(i)
        else:
            if not widened_since:
                return widths
            refused, widened_since = set(), False
