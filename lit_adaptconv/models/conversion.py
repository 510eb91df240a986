"""Swap the convolutions of any model for another kind."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lit_adaptconv.errors import UserError, cause_of, told_in_one_line
from lit_adaptconv.layers.kinds import BUILT_IN, Conv, conv_kind
from lit_adaptconv.layers.sharing import join, shares
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.measure.count import count_bytes, count_parameters, forward_flops
from lit_adaptconv.models.parameter_formula import measured, on_meta
from lit_adaptconv.models.selection import Skipped, Swappable, Where, find_swappable
from lit_adaptconv.models.swap import conv_like, in_places


@dataclass(frozen=True)
class Swapped:
    """A convolution that was swapped.

    Attributes:
        name: Its name in the model; the first of them, if it is shared.
        convolution: What stood there, as PyTorch writes it.
        parameters_before: Its trainable parameters.
        parameters_after: Those of the layer that took its place.
    """

    name: str
    convolution: str
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class Conversion:
    """A converted model, and what was done to it; `str` gives a table.

    Attributes:
        model: The model; the same object, unless the model itself was a convolution.
        kind: The conv kind.
        swapped: What was swapped, in the model's order.
        skipped: What was meant, and was left alone.
        parameters_before: Trainable parameters of the model as it was.
        parameters_after: Trainable parameters now.
        flops_before: FLOPs of one sample as it was; None without an example input.
        flops_after: FLOPs of one sample now.

    Examples:
        >>> conversion = convert(nn.Sequential(nn.Conv2d(3, 8, 3)), "adaptive_low_rank")
        >>> conversion.parameters_before, conversion.parameters_after
        (224, 448)
    """

    model: nn.Module
    kind: str
    swapped: tuple[Swapped, ...]
    skipped: tuple[Skipped, ...]
    parameters_before: int
    parameters_after: int
    flops_before: int | None = None
    flops_after: int | None = None

    def __str__(self) -> str:
        """Return a table: a line for each convolution, then the sums."""
        rows = [("convolution", "was", "parameters", f"as {self.kind}")]
        rows += [
            (s.name or "(model)", s.convolution, f"{s.parameters_before:,}", f"{s.parameters_after:,}")
            for s in self.swapped
        ]
        rows += [(one.name or "(model)", f"stays: it {one.reason}", "", "") for one in self.skipped]
        rows.append(("model", "parameters", f"{self.parameters_before:,}", f"{self.parameters_after:,}"))
        if self.flops_before is not None:
            rows.append(("", "FLOPs a sample", f"{self.flops_before:,}", f"{self.flops_after:,}"))
        elif self.swapped:
            rows.append(("", "not run: no example input", "", ""))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        )


def convert(
    model: nn.Module,
    kind: str,
    *,
    where: Where = None,
    budget: int | Budget | None = None,
    example_input: Tensor | None = None,
    kind_options: Mapping[str, Any] | None = None,
    warm_start: bool = False,
) -> Conversion:
    """Swap convolutions of a model for another kind, in place.

    The new layers keep stride, padding and its mode, dilation, groups, bias, device, dtype, training mode, and forward
    and backward hooks; a shared layer stays shared. Their weights are new (see `warm_start`), and they are trainable.
    Kind "standard" swaps nothing. If anything is wrong, the model stays as it was. To keep the original, pass a
    `copy.deepcopy`.

    Give an example input to find out whether the model runs with the new layers: its code may read the `weight` of a
    convolution, hold a convolution outside of its modules, or check its class.

    With a budget, as many convolutions are swapped as it allows: those that add the fewest parameters first, and among
    equals in the model's order. With several limits, or limits on FLOPs or bytes, those come first that add the
    smallest share of any limit.

    Args:
        model: Any model, such as one of torchvision or timm.
        kind: The conv kind: a known name (see `lit_adaptconv.kinds`), or the dotted path of a class.
        where: Which convolutions: a pattern on names in the model ("layer1"), several, a `Selection` ("3×3, stride
            1") or another predicate `(name, convolution) -> bool`; None means all. Only a `Selection` with kernel_size
            1 or a predicate selects 1×1 convolutions. Only a plain `nn.Conv2d` is swapped; the result lists what was
            left alone, and why.
        budget: Largest number of trainable parameters that the converted model may have, or a `Budget` with other
            limits too.
        example_input: A batch `(N, C, H, W)` for the model. Only its shape matters: the model runs on one sample of
            zeros, before and after, to count FLOPs and to see whether it works. A limit on FLOPs needs it.
        kind_options: Further arguments of the kind, such as `rank`.
        warm_start: Whether the new layers take over the weights of the old ones, so that the model computes what it did
            (within rounding) and can be fine-tuned. The kinds `adaptive`, `adaptive_low_rank` and `adaptive_residual`
            can.

    Raises:
        UserError: Unknown kind or option, no convolution, a pattern that fits none, a budget that cannot be met, a
            kind that cannot take over these weights, or a model that does not run, before or after, on the example.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        >>> conversion = convert(network, "adaptive_low_rank", where="2", kind_options={"rank": 1})
        >>> [each.name for each in conversion.swapped]
        ['2']
        >>> network(torch.randn(1, 3, 16, 16)).shape
        torch.Size([1, 8, 12, 12])
    """
    conv = conv_kind(kind, kind_options)
    found, skipped = find_swappable(model, where)
    before = [count_parameters(one.convolution) for one in found]
    total = count_parameters(model)
    sample = None if example_input is None else tuple(example_input.shape[1:])
    if budget is not None:
        limits, every = Budget.of(budget), found
        sizes = _sizes(model, limits, sample)
        calls = _calls_of(model, sample, every) if "flops" in limits.limits and sample is not None else {}

        def added(some: Sequence[int]) -> list[dict[str, int]]:
            return _added([every[i] for i in some], limits, calls, kind, conv)

        alone = [added([i])[0] for i in range(len(every))]

        def together(some: Sequence[int]) -> dict[str, int]:
            joint = added(some) if shares(conv) else [alone[i] for i in some]
            return {name: size + sum(one[name] for one in joint) for name, size in sizes.items()}

        chosen = _within(limits, alone, together, found, kind)
        found, before = ([column[i] for i in chosen] for column in (found, before))  # type: ignore[assignment]
    with told_in_one_line("the model does not run on the example input"):
        flops_before = None if sample is None else _flops(model, sample)
    layers: dict[nn.Module, nn.Module] = {
        one.convolution: _try(one, kind, conv, warm_start=warm_start) for one in found
    }
    join(layers.values())
    after = [parameters for parameters, _ in _own(list(layers.values()))]
    shown = [str(one.convolution) for one in found]
    converted = layers.get(model, model)
    with in_places(model, layers), told_in_one_line(f"the model does not run with conv kind {kind!r} in these places"):
        flops_after = None if sample is None else _flops(converted, sample)
    return Conversion(
        converted,
        kind,
        tuple(Swapped(s.name, text, b, a) for s, text, b, a in zip(found, shown, before, after, strict=True)),
        tuple(skipped),
        total,
        count_parameters(converted),
        flops_before,
        flops_after,
    )


def _flops(model: nn.Module, sample: tuple[int, ...]) -> int:
    """The FLOPs of one sample, without a trace of the run in the model's buffers."""
    with _buffers_kept(model):
        return forward_flops(model, sample)


@contextlib.contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    before = [(buffer, buffer.clone()) for buffer in model.buffers() if not is_lazy(buffer)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def _try(
    one: Swappable, kind: str, conv: Conv, device: torch.device | str | None = None, warm_start: bool = False
) -> nn.Module:
    """Make the layer for a convolution, or say in one line why the kind does not fit there."""
    try:
        if device == "meta":
            return on_meta(lambda: conv_like(one.convolution, conv, device))
        layer = conv_like(one.convolution, conv)
        if warm_start and layer is not one.convolution:
            _start_from(layer, one.convolution, kind)
        return layer
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a kind of someone else may raise anything
        where = f"at {one.name!r}: " if one.name else ""
        raise UserError(f"conv kind {kind!r} does not fit {where}{cause_of(error)}") from error


def _start_from(layer: nn.Module, convolution: nn.Conv2d, kind: str) -> None:
    start = getattr(layer, "start_from", None)
    if start is None:
        classes = {known.name: getattr(known.layer, "func", known.layer) for known in BUILT_IN}
        able = ["standard", *(name for name, layer in classes.items() if hasattr(layer, "start_from"))]
        raise UserError(f"conv kind {kind!r} cannot start from trained weights; these can: {', '.join(able)}")
    start(convolution)


def _sizes(model: nn.Module, budget: Budget, sample: tuple[int, ...] | None) -> dict[str, int]:
    """What the model has of each thing that the budget limits."""
    if "flops" in budget.limits and sample is None:
        raise UserError("FLOPs depend on the image: give a budget of FLOPs with an example input")
    with told_in_one_line("the model does not run on the example input"), _buffers_kept(model):
        return budget.sizes(model, sample)


def _added(
    found: Sequence[Swappable],
    budget: Budget,
    calls: Mapping[nn.Module, Sequence[tuple[int, ...]]],
    kind: str,
    conv: Conv,
) -> list[dict[str, int]]:
    """What swapping each convolution adds, of each thing that the budget limits; for FLOPs, at these calls."""
    added = []
    layers = [_try(one, kind, conv, device="meta") for one in found]
    join(layers)
    for one, new, (parameters, shared) in zip(found, layers, _own(layers), strict=True):
        old = _try(one, kind, partial(nn.Conv2d), device="meta")
        twice = sum(parameter.numel() for parameter in shared) * budget.torch_dtype.itemsize
        differences = {
            "parameters": parameters - count_parameters(one.convolution),
            "bytes": count_bytes(new, budget.torch_dtype) - twice - count_bytes(one.convolution, budget.torch_dtype),
            "flops": 0,
        }
        with told_in_one_line(f"conv kind {kind!r} does not run at {one.name!r}"):
            for shape, times in Counter(calls.get(one.convolution, ())).items():
                flops = _layer_flops(new, one, kind, conv, shape)
                differences["flops"] += times * (flops - forward_flops(old, shape))
        added.append(differences)
    return added


def _own(layers: Sequence[nn.Module]) -> list[tuple[int, set[nn.Parameter]]]:
    """The trainable parameters of each layer, but for those that it shares with one before, and these."""
    seen: set[nn.Parameter] = set()
    found = []
    for layer in layers:
        mine = set(layer.parameters())
        shared = mine & seen
        found.append((sum(p.numel() for p in mine - shared if p.requires_grad and not is_lazy(p)), shared))
        seen |= mine
    return found


def _layer_flops(layer: nn.Module, one: Swappable, kind: str, conv: Conv, shape: tuple[int, ...]) -> int:
    """FLOPs of the layer, on the meta device, that a convolution becomes."""
    if shares(conv):  # one with numbers, made alone, would be another
        return forward_flops(layer, shape)
    return measured(lambda made: forward_flops(made, shape), lambda: layer, lambda: _try(one, kind, conv))


def _calls_of(
    model: nn.Module, sample: tuple[int, ...], found: Sequence[Swappable]
) -> dict[nn.Module, list[tuple[int, ...]]]:
    """Shape of every image that each convolution is given, for one sample."""
    shapes: dict[nn.Module, list[tuple[int, ...]]] = {}

    def see(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        shape = (args[0] if args else options["input"]).shape
        images = shape[0] if len(shape) == 4 else 1
        shapes.setdefault(module, []).extend([tuple(shape[-3:])] * images)

    hooks = [one.convolution.register_forward_pre_hook(see, with_kwargs=True) for one in found]
    try:
        _flops(model, sample)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _within(
    budget: Budget,
    added: Sequence[dict[str, int]],
    together: Callable[[Sequence[int]], dict[str, int]],
    found: Sequence[Swappable],
    kind: str,
) -> list[int]:
    """Choose the most convolutions that the budget allows; those that add least first.

    Args:
        budget: What is limited.
        added: What swapping each convolution alone adds.
        together: What the model has with some of them swapped.
        found: The convolutions.
        kind: Of the layers that take their places.
    """
    limits = budget.limits
    if not found:
        return []

    def share(one: dict[str, int]) -> float:
        return max(one[name] / limit for name, limit in limits.items())

    order = sorted(range(len(added)), key=lambda i: share(added[i]))
    results = [together(order[:count]) for count in range(len(order) + 1)]
    fitting = [count for count, result in enumerate(results) if count and share(result) <= 1]
    if not fitting:
        least = min(results[1:], key=share)
        name = max(limits, key=lambda name: least[name] / limits[name])
        first = found[order[0]].name or "the model"
        raise UserError(
            f"no swap to conv kind {kind!r} fits a budget of {budget.text(name)}: "
            f"the smallest result, which swaps {first!r} first, has {least[name]:,}"
        )
    chosen = order[: fitting[-1]]
    for i in order[fitting[-1] :]:  # one that is too large of one thing may be followed by one that is not
        if share(together([*chosen, i])) <= 1:
            chosen = [*chosen, i]
    return sorted(chosen)
