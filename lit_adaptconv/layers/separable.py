"""Separable layers: a depthwise convolution of any kind, then an ordinary 1×1 convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lit_adaptconv.layers.init import PartConv2d, draw
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class SeparableConv2d(nn.Module):
    """Depthwise convolution (`groups = C_in`), then 1×1 (pointwise) convolution that mixes the channels.

    `depthwise` is any conv kind; `nn.Conv2d` gives the separable convolution of MobileNet (Howard et al. 2017). The
    bias belongs to the pointwise convolution: one in the depthwise part would be redundant.

    Initialisation: the depthwise part starts as its own kind does. The pointwise weights are drawn with variance
    1 / (C_in / groups), so that this part keeps its input's variance. (PyTorch's own initialisation would keep a third
    of it, too little for an adaptive depthwise part, whose input decides its kernel.) The bias starts at zero. With an
    adaptive depthwise part and `init="default"`, the pointwise part, too, starts as in PyTorch.

    The first arguments are those of `torch.nn.Conv2d`: `groups` and `bias` of the pointwise part, the others of the
    depthwise part.

    Args:
        depthwise: The conv kind of the depthwise part.
        options: Further arguments of the depthwise part (and `device`, `dtype`, which go to both).

    Examples:
        >>> SeparableConv2d(3, 8, 3, padding=1)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        depthwise: Callable[..., nn.Module] = nn.Conv2d,
        **options: Any,
    ) -> None:
        super().__init__()
        where = {name: options[name] for name in ("device", "dtype") if name in options}
        geometry = (in_channels, in_channels, kernel_size, stride, padding, dilation, in_channels)
        self.depthwise = depthwise(*geometry, bias=False, padding_mode=padding_mode, **options)
        self.pointwise = PartConv2d(in_channels, out_channels, 1, groups=groups, bias=bias, **where)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the pointwise part's parameters anew, as the class describes."""
        if getattr(self.depthwise, "init", "balanced") == "default":
            nn.Conv2d.reset_parameters(self.pointwise)
            return
        draw(self.pointwise.weight, 1 / math.sqrt(self.pointwise.weight.shape[1]))
        if self.pointwise.bias is not None:
            nn.init.zeros_(self.pointwise.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `(N, C_in, H, W)` or `(C_in, H, W)`."""
        out: Tensor = self.pointwise(self.depthwise(input))
        return out
