"""What every backbone is: a network whose layers' widths can be scaled, or set one by one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lit_adaptconv.errors import UserError

Width = float | Sequence[int]
"""A factor on the usual widths (each rounded, at least 1), or the width of every layer."""


class Backbone(nn.Module):
    """Base class of the networks: an image batch `(N, C, H, W)` in, logits `(N, num_classes)` out.

    A backbone is constructed as `Backbone(in_channels, num_classes, image_size, conv, width)`, then keyword options of
    its own; `conv` is any convolution with `nn.Conv2d`'s arguments (see `lit_adaptconv.layers.kinds`).

    Attributes:
        widths: The width that each scalable layer has: channels of a convolution, features of a linear layer.
    """

    widths: tuple[int, ...]


def resolve_widths(base: Sequence[int], width: Width) -> tuple[int, ...]:
    """Return the width of every layer, where `base` are the usual ones.

    Raises:
        UserError: A factor that is not positive, a width below 1, or a number of widths that is not `base`'s.
    """
    if isinstance(width, (int, float)):
        if width <= 0:
            raise UserError(f"width must be positive, got {width}")
        return tuple(max(1, round(channels * width)) for channels in base)
    if len(width) != len(base) or min(width) < 1:
        raise UserError(f"width must be one factor or {len(base)} positive integers, got {list(width)}")
    return tuple(width)
