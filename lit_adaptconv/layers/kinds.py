"""Conv kinds: the names by which a config, a sweep or a backbone asks for a convolution.

A kind is a callable with `torch.nn.Conv2d`'s arguments, and keyword options of its own. To add one, write its file
in this folder and add its line to `KINDS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.adaptive import AdaptiveConv2d
from lit_adaptconv.layers.condconv import CondConv2d
from lit_adaptconv.layers.decoupled_dynamic import DecoupledDynamicFilter2d
from lit_adaptconv.layers.deformable import DeformableConv2d
from lit_adaptconv.layers.dynamic_conv import DynamicConv2d
from lit_adaptconv.layers.dynamic_filter import DynamicFilter2d
from lit_adaptconv.layers.dynamic_filter_local import LocalDynamicFilter2d
from lit_adaptconv.layers.involution import Involution2d
from lit_adaptconv.layers.low_rank import LowRankAdaptiveConv2d
from lit_adaptconv.layers.odconv import ODConv2d
from lit_adaptconv.layers.residual import ResidualAdaptiveConv2d
from lit_adaptconv.layers.separable import SeparableConv2d

Conv = Callable[..., nn.Module]

KINDS: dict[str, Conv] = {
    "standard": nn.Conv2d,
    "separable": SeparableConv2d,
    "adaptive": AdaptiveConv2d,
    "adaptive_separable": partial(SeparableConv2d, depthwise=AdaptiveConv2d),
    "adaptive_low_rank": LowRankAdaptiveConv2d,
    "adaptive_low_rank_separable": partial(SeparableConv2d, depthwise=LowRankAdaptiveConv2d),
    "adaptive_bilinear": partial(LowRankAdaptiveConv2d, gate_activation="identity"),
    "adaptive_residual": ResidualAdaptiveConv2d,
    "dynamic_filter": DynamicFilter2d,
    "dynamic_filter_local": LocalDynamicFilter2d,
    "condconv": CondConv2d,
    "dynamic_conv": DynamicConv2d,
    "odconv": ODConv2d,
    "involution": Involution2d,
    "decoupled_dynamic": DecoupledDynamicFilter2d,
    "deformable": DeformableConv2d,
}


def conv_kind(kind: str, options: Mapping[str, Any] | None = None) -> Conv:
    """Return the convolution called `kind`, with its own keyword options set.

    Raises:
        UserError: The kind is unknown (the message lists the known ones), or it has no such option.
    """
    if kind not in KINDS:
        raise UserError(f"unknown conv kind {kind!r}; known kinds: {', '.join(KINDS)}")
    if not options:
        return KINDS[kind]
    known = _options(KINDS[kind])
    for name in options:
        if name not in known:
            has = f"its options: {', '.join(known)}" if known else "it has none"
            raise UserError(f"conv kind {kind!r} has no option {name!r}; {has}")
    return partial(KINDS[kind], **options)


def _options(conv: Conv) -> list[str]:
    """Names of the keyword-only arguments of a kind, without those that every layer has."""
    preset = conv.keywords if isinstance(conv, partial) else {}
    layer = preset.get("depthwise", conv.func if isinstance(conv, partial) else conv)
    names = [p.name for p in inspect.signature(layer).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return [name for name in names if name not in ("device", "dtype", "depthwise", *preset)]
