"""What every backbone is: a network whose layers' widths can be scaled, or set one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.sharing import join

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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _joining(cls.__init__)  # type: ignore[method-assign]


def _joining(construct: Callable[..., None]) -> Callable[..., None]:
    """A constructor after which, if it is the network's own and not one that it calls, layers that share are joined."""

    @functools.wraps(construct)
    def joining(self: Backbone, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        if type(self).__init__ is joining:
            join(self.modules())

    return joining


def resolve_widths(base: Sequence[int], width: Width) -> tuple[int, ...]:
    """Return the width of every layer, where `base` are the usual ones.

    Raises:
        UserError: A factor that is not positive, a width below 1, or a number of widths that is not `base`'s.

    Examples:
        >>> resolve_widths((16, 32), 0.5), resolve_widths((16, 32), [10, 20])
        ((8, 16), (10, 20))
    """
    if isinstance(width, (int, float)):
        if width <= 0:
            raise UserError(f"width must be positive, got {width}")
        return tuple(max(1, round(channels * width)) for channels in base)
    if len(width) != len(base) or min(width) < 1:
        raise UserError(f"width must be one factor or {len(base)} positive integers, got {list(width)}")
    return tuple(width)
