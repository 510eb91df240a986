"""Which convolutions of a model can be swapped, and which of them are meant."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import layer_classes
from lit_adaptconv.models.swap import is_spatial

Predicate = Callable[[str, nn.Conv2d], bool]
"""Says of a convolution and its name in the model whether it is meant."""


@dataclass
class Selection:
    """Convolutions that meet all of these conditions.

    Args:
        names: Patterns. At least one must match the convolution's name in the model, or the name of a module that
            contains it. `*` stands for anything, including dots, as in "layer1", "layer[12].*" or "*.conv2".
        kernel_size: Side of its (square) kernel; None means any kernel larger than 1×1, which sees no neighbourhood
            from which a kernel could be computed. 1 means the 1×1 convolutions.
        stride: Its stride in both directions; None means any.
        depthwise: Whether it has one group per channel; None means either.

    Examples:
        >>> from lit_adaptconv.models.conversion import convert
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2))
        >>> [each.name for each in convert(network, "adaptive_low_rank", where=Selection(stride=2)).swapped]
        ['1']
    """

    names: list[str] = field(default_factory=lambda: ["*"])
    kernel_size: int | None = None
    stride: int | None = None
    depthwise: bool | None = None

    def __call__(self, name: str, convolution: nn.Conv2d) -> bool:
        """Whether a convolution meets the conditions."""
        k, s = self.kernel_size, self.stride
        is_depthwise = convolution.groups == convolution.in_channels > 1
        return (
            self.fits_name(name)
            and (is_spatial(convolution) if k is None else convolution.kernel_size == (k, k))
            and s in (None, convolution.stride[0])
            and s in (None, convolution.stride[1])
            and self.depthwise in (None, is_depthwise)
        )

    def fits_name(self, name: str) -> bool:
        """Whether a name, or that of a part that it lies in, fits one of the patterns."""
        return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in self.names)


Where = str | Sequence[str] | Predicate | None
"""A pattern on names, several, a `Selection` or other predicate; None means every convolution larger than 1×1."""


@dataclass(frozen=True)
class Swappable:
    """A convolution that can be swapped, and its name; a shared one has the first of its names."""

    name: str
    convolution: nn.Conv2d


@dataclass(frozen=True)
class Skipped:
    """A convolution that was meant but stays as it is, and why."""

    name: str
    reason: str


def find_swappable(model: nn.Module, where: Where) -> tuple[list[Swappable], list[Skipped]]:
    """Find the convolutions that are meant: those that can be swapped, and those that must be left alone.

    Only a plain `nn.Conv2d` can be swapped. A convolution within a layer of some kind is not one of the model's.

    Raises:
        UserError: The model has no convolution, or none that is meant, or none of these can be swapped.
    """
    meant: Predicate = where if callable(where) else Selection(_patterns(where))
    by_name = meant.fits_name if isinstance(meant, Selection) else lambda name: True
    found = list(_convolutions(model))
    if not found:
        raise UserError(f"{type(model).__name__} has no convolutions")
    weights = Counter(id(m.weight) for m in {id(m): m for _, m in found}.values() if type(m) is nn.Conv2d)
    swappable: dict[int, Swappable] = {}
    skipped: dict[int, Skipped] = {}
    for name, module in found:
        if type(module) is not nn.Conv2d:
            if by_name(name):
                skipped.setdefault(id(module), Skipped(name, _why_foreign(module)))
        elif meant(name, module):
            if reason := _why_bound(module, weights):
                skipped.setdefault(id(module), Skipped(name, reason))
            else:
                swappable.setdefault(id(module), Swappable(name, module))
    if not swappable:
        raise UserError(_nothing_found(where, [name for name, _ in found], list(skipped.values())))
    return list(swappable.values()), list(skipped.values())


def _patterns(where: str | Sequence[str] | None) -> list[str]:
    return ["*"] if where is None else [where] if isinstance(where, str) else list(where)


def _convolutions(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield every convolution under every name it has, in the model's order."""
    own = isinstance(module, layer_classes())
    leaf = not module._modules and "conv" in type(module).__name__.lower()
    if own or leaf or isinstance(module, _ConvNd):
        yield prefix, module
        return
    for name, child in module._modules.items():
        if child is not None:
            yield from _convolutions(child, f"{prefix}.{name}" if prefix else name)


def _why_foreign(module: nn.Module) -> str:
    """Why a convolution that is no plain `nn.Conv2d` stays."""
    name = type(module).__name__
    if isinstance(module, layer_classes()):
        return f"is a {name} already"
    if isinstance(module, LazyModuleMixin):
        return f"is a {name} without a shape yet: run the model on a batch first"
    if type(module).__module__.startswith("torch.ao"):
        return "is quantised"
    if isinstance(module, _ConvTransposeNd):
        return "is transposed"
    if isinstance(module, nn.Conv2d):
        return f"is a {name}: what that adds to a Conv2d would be lost"
    return f"is a {name}, not a Conv2d"


def _why_bound(convolution: nn.Conv2d, weights: Counter[int]) -> str | None:
    """Why an `nn.Conv2d` stays, or None if it need not."""
    if "weight" not in convolution._parameters:
        return "has a weight that is computed (by weight normalisation or pruning)"
    if weights[id(convolution.weight)] > 1:
        return "shares its weight with another convolution"
    return None


def _nothing_found(where: Where, names: list[str], skipped: list[Skipped]) -> str:
    if skipped:
        reasons = "; ".join(f"{one.name or 'the model'} {one.reason}" for one in skipped[:3])
        return f"none of the convolutions meant can be swapped: {reasons}{'; …' if len(skipped) > 3 else ''}"
    shown = f"{', '.join(name or '(the model)' for name in names[:6])}{', …' if len(names) > 6 else ''}"
    there = f"there are {len(names)}: {shown}"
    if isinstance(where, Selection):
        return f"no convolution matches {where}; {there}"
    if callable(where):
        return f"no convolution is selected; {there}"
    patterns = _patterns(where)
    if any(Selection(patterns).fits_name(name) for name in names):
        return f"only 1×1 convolutions match {_listed(patterns)}: ask for them with Selection(kernel_size=1); {there}"
    parts = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}
    near = [m for p in patterns for m in difflib.get_close_matches(p.rstrip(".*"), sorted(parts), n=1)]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no convolution matches {_listed(patterns)}; {hint}{there}"


def _listed(patterns: list[str]) -> str:
    return " or ".join(map(repr, patterns))
