"""Conv kinds: the names by which a config, a sweep or a backbone asks for a convolution.

A kind is anything with `torch.nn.Conv2d`'s arguments, and options of its own. To add one of ours, write its file in
this folder and its entry in `built_in.py`. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.built_in import BUILT_IN as BUILT_IN
from lit_adaptconv.layers.built_in import Conv as Conv
from lit_adaptconv.layers.built_in import Dependence
from lit_adaptconv.layers.built_in import Kind as Kind
from lit_adaptconv.layers.signature import check_conv, check_options

ENTRY_POINTS = "lit_adaptconv.kinds"
"""Group of entry points by which another package offers kinds."""

_registered: dict[str, Kind] = {}
_foreign: dict[str, Kind] = {}
"""Kinds of other packages that were asked for."""


def kinds() -> dict[str, Kind]:
    """Return the known conv kinds by name: ours, then those of installed packages, then the registered ones.

    Examples:
        >>> "adaptive_low_rank" in kinds()
        True
        >>> kinds()["standard"].source
        'LeCun et al., Neural Computation 1989'
    """
    known: dict[str, Kind] = {}
    for kind in (*BUILT_IN, *_offered(), *_registered.values()):
        known.setdefault(kind.name, kind)
    return known


@cache
def _offered() -> tuple[Kind, ...]:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return tuple(Kind(p.name, p.value, source=p.dist.name if p.dist else "") for p in found)


def register_kind(
    name: str,
    conv: str | Conv,
    *,
    equation: str = "",
    kernel: Dependence | None = None,
    source: str = "",
    caution: str = "",
) -> None:
    """Give a convolution a name as a kind, in this process.

    The trials of a sweep run in processes of their own. For them use a dotted path, which needs no name, or an entry
    point of the group `lit_adaptconv.kinds`.

    Args:
        name: Letters, digits, `_` and `-`. You may register a name again.
        conv: A class or function with `nn.Conv2d`'s arguments, or where it is, as "package.module:Class".
        equation: The output y of an input x.
        kernel: What the kernel depends on, apart from the weights.
        source: Paper.
        caution: What to know before building a network of this kind alone.

    Raises:
        UserError: The name is taken or not plain, or the convolution does not take `nn.Conv2d`'s arguments.

    Examples:
        >>> from torch import nn
        >>> class Plain(nn.Conv2d):
        ...     pass
        >>> register_kind("plain", Plain, equation="y = W ⋆ x")
        >>> conv_kind("plain")(3, 8, kernel_size=3)
        Plain(3, 8, kernel_size=(3, 3), stride=(1, 1))
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"the name of a conv kind has letters, digits, _ and -, got {name!r}")
    if name in kinds() and name not in _registered:
        raise UserError(f"conv kind {name!r} is known already: register yours under another name")
    kind = Kind(name, conv, equation, kernel, source, caution=caution)
    if not isinstance(conv, str):
        check_conv(name, kind.layer)
    _registered[name] = kind


def conv_kind(kind: str, options: Mapping[str, Any] | None = None) -> Conv:
    """Return the convolution of a kind, with its own options set.

    Args:
        kind: A known name (see `kinds`), or the dotted path of a class or function, such as "my_package.MyConv".
        options: Arguments of the kind that `nn.Conv2d` does not have.

    Raises:
        UserError: The kind is unknown (the message lists the known ones), cannot be imported, does not take
            `nn.Conv2d`'s arguments, or has no such option.

    Examples:
        >>> conv = conv_kind("adaptive_low_rank", {"rank": 1})
        >>> conv(3, 8, kernel_size=3, padding="same")(torch.randn(1, 3, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    found = _find(kind)
    conv = found.layer
    if options:
        check_options(kind, conv, options)
        conv = partial(conv, **options)
    check_conv(kind, conv)
    if found not in BUILT_IN:
        _foreign[kind] = found
    return conv


def _find(name: str) -> Kind:
    known = kinds()
    if name in known:
        return known[name]
    if "." in name or ":" in name:
        return Kind(name, name)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown conv kind {name!r}; {meant}known kinds: {', '.join(known)}, or a class as package.Class")


def layer_classes() -> tuple[type, ...]:
    """Return the classes of layers that kinds make: ours but `nn.Conv2d`, and those of others that were asked for."""
    standard = BUILT_IN[0].layer
    layers = [kind.layer for kind in (*BUILT_IN, *_foreign.values())]
    made = dict.fromkeys(layer.func if isinstance(layer, partial) else layer for layer in layers)
    return tuple(layer for layer in made if isinstance(layer, type) and layer is not standard)
