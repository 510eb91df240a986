"""Does a convolution take `nn.Conv2d`'s arguments, and which options of its own has it?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from lit_adaptconv.errors import UserError

CONV2D = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")
"""The arguments that every kind is given: the first three in this order, the others by name."""

_NO_OPTIONS = (*CONV2D, "padding_mode", "device", "dtype", "depthwise")


def check_conv(kind: str, conv: Callable[..., Any]) -> None:
    """Check that a convolution can be called as `nn.Conv2d` is.

    Raises:
        UserError: It cannot; the message names what it lacks, or needs beside.
    """
    parameters = _parameters(conv)
    if parameters is None:
        return
    missing = [name for name in CONV2D if name not in parameters]
    if missing and not _takes_any(conv):
        raise UserError(f"conv kind {kind!r} does not take nn.Conv2d's arguments: it has no {', '.join(missing)}")
    first = [name for name, parameter in parameters.items() if parameter.kind is not parameter.KEYWORD_ONLY][:3]
    if set(CONV2D[:3]) <= set(parameters) and tuple(first) != CONV2D[:3]:
        raise UserError(
            f"conv kind {kind!r} must take {', '.join(CONV2D[:3])} first, as nn.Conv2d does, got {', '.join(first)}"
        )
    needed = [n for n, parameter in parameters.items() if n not in CONV2D and parameter.default is parameter.empty]
    if needed:
        raise UserError(
            f"conv kind {kind!r} needs {', '.join(needed)}, which nn.Conv2d does not have: set it as an option"
        )


def check_options(kind: str, conv: Callable[..., Any], options: Iterable[str]) -> None:
    """Check that a convolution has these options.

    Raises:
        UserError: It has not; the message lists those that it has.
    """
    preset = conv.keywords if isinstance(conv, partial) else {}
    layer = preset.get("depthwise", conv.func if isinstance(conv, partial) else conv)
    parameters = _parameters(layer)
    if parameters is None or _takes_any(layer):
        return
    known = [name for name in parameters if name not in (*_NO_OPTIONS, *preset)]
    for name in options:
        if name not in known:
            has = f"its options: {', '.join(known)}" if known else "it has none"
            raise UserError(f"conv kind {kind!r} has no option {name!r}; {has}")


def _parameters(conv: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """The parameters that have names; None for what is written in C and has no signature."""
    try:
        parameters = inspect.signature(conv).parameters
    except ValueError:
        return None
    return {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _takes_any(conv: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(conv).parameters.values())
