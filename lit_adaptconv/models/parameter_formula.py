"""The number of parameters of a network as a function of its layers' widths, without building it each time."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.measure.count import count_parameters

Module = TypeVar("Module", bound=nn.Module)
Result = TypeVar("Result")
Sides = npt.NDArray[np.int64]
Build = Callable[[Conv, Sequence[int]], nn.Module]
"""Makes a network of a conv kind and the widths of its layers."""

_CONV2D = inspect.signature(nn.Conv2d)
_CHANNELS = ("in_channels", "out_channels", "groups")


class _DrawNothing(TorchFunctionMode):
    """Leaves out the drawing of weights, which takes most of the time on the meta device, where there are none."""

    DRAWS = frozenset(
        {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_}
        # these are seen whole, and what they call is not
        | {nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_}
    )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in self.DRAWS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def on_meta(build: Callable[[], Module]) -> Module:
    """Build a module of shapes without numbers."""
    with torch.device("meta"), _DrawNothing():
        return build()


def measured(
    measure: Callable[[Module], Result], on_meta_device: Callable[[], Module], build: Callable[[], Module]
) -> Result:
    """Measure a module on the meta device; where its forward pass needs numbers, which there are none of, built anew.

    Args:
        measure: What is measured.
        on_meta_device: Gives the module on the meta device.
        build: Makes it with numbers; the random generator stays as it was.

    Raises:
        UserError: The module, or what is measured, cannot be.
    """
    try:
        return measure(on_meta_device())
    except UserError:
        raise
    except Exception:
        with torch.random.fork_rng(devices=[]):
            return measure(build())


@dataclass(frozen=True)
class _Outline:
    """What a network consists of: the calls that made its convolutions, and the shapes of its other parameters.

    `structure` must be the same for all widths; `sides` holds the numbers that follow them.
    """

    structure: tuple[Any, ...]
    sides: tuple[int, ...]


@dataclass(frozen=True)
class ParameterFormula:
    """Counts the parameters of a family of networks from the outlines of a few of them.

    The channels of every convolution, and every side of any other parameter, are taken for linear functions of the
    widths: one width, or twice or 49 times one, or a sum of several. The coefficients follow from one network and, for
    each width, one in which it alone is larger; they are the same for every kind. A convolution is made, on the meta
    device, to count its own parameters once for each combination of its arguments, so a kind may round as it likes.
    """

    coefficients: Sides
    shapes: tuple[tuple[slice, int], ...]
    calls: tuple[tuple[slice, tuple[Any, ...], int], ...]
    _known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def __call__(self, conv: Conv, widths: Sequence[int]) -> int:
        """Return the number of trainable parameters of the network of this kind with these widths."""
        sides = (self.coefficients @ np.array([1, *widths], dtype=np.int64)).tolist()
        total = 0
        for where, count in self.shapes:
            size = count
            for side in sides[where]:
                size *= side
            total += size
        for where, arguments, count in self.calls:
            total += count * self._layer(conv, tuple(sides[where]), arguments)
        return total

    def _layer(self, conv: Conv, channels: tuple[int, ...], arguments: tuple[Any, ...]) -> int:
        key = (conv, channels, arguments)
        if key not in self._known:
            given = {**dict(zip(_CHANNELS, channels, strict=True)), **dict(arguments)}
            self._known[key] = count_parameters(on_meta(lambda: conv(**given)))
        return self._known[key]


def find_formula(build: Build, base: Sequence[int]) -> ParameterFormula | None:
    """Find the formula of the networks that `build` makes, or None where their layers are not linear in the widths.

    Args:
        build: Makes the network for a conv kind and widths; it is called on the meta device, so nothing is allocated.
        base: Any widths, as many as the network has.
    """
    origin = _outline(build, base)
    steps = [_outline(build, [width + (i == j) for j, width in enumerate(base)]) for i in range(len(base))]
    check = [2 * width + 1 + i for i, width in enumerate(base)]
    checked = _outline(build, check)
    if any(outline.structure != origin.structure for outline in (*steps, checked)):
        return None
    constant = np.array(origin.sides, dtype=np.int64)
    slopes = np.array([step.sides for step in steps], dtype=np.int64) - constant
    coefficients = np.column_stack([constant - np.array(base) @ slopes, slopes.T])
    if not np.array_equal(coefficients @ np.array([1, *check]), checked.sides):
        return None
    return _grouped(coefficients, origin.structure)


def _grouped(coefficients: Sides, structure: tuple[Any, ...]) -> ParameterFormula:
    """Write layers that are alike for all widths as one, with their number: a deep network has few different ones."""
    counts: Counter[tuple[Any, ...]] = Counter()
    start = 0
    for part in structure:
        length = part if isinstance(part, int) else len(_CHANNELS)
        rows = tuple(tuple(row) for row in coefficients[start : start + length].tolist())
        counts[rows, None if isinstance(part, int) else part] += 1
        start += length
    rows_of_all: list[tuple[int, ...]] = []
    shapes, calls = [], []
    for (rows, arguments), count in counts.items():
        where = slice(len(rows_of_all), len(rows_of_all) + len(rows))
        rows_of_all += rows
        if arguments is None:
            shapes.append((where, count))
        else:
            calls.append((where, arguments, count))
    return ParameterFormula(np.array(rows_of_all, dtype=np.int64), tuple(shapes), tuple(calls))


def _outline(build: Build, widths: Sequence[int]) -> _Outline:
    structure: list[Any] = []
    sides: list[int] = []

    def record(*args: Any, **options: Any) -> nn.Module:
        given = _CONV2D.bind(*args, **options).arguments
        sides.extend(given.pop(name, 1) for name in _CHANNELS)
        structure.append(tuple((name, given[name]) for name in sorted(given) if name not in ("device", "dtype")))
        return nn.Module()

    network = on_meta(lambda: build(record, widths))
    for parameter in network.parameters():
        if parameter.requires_grad:
            structure.append(parameter.dim())
            sides.extend(parameter.shape)
    return _Outline(tuple(structure), tuple(sides))
