"""LS convolution: every pixel sees a large window, and weighs a small one by what it saw."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.adaptive import STATIC_SHARE
from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.per_pixel import channel_groups, mixing_conv2d, per_pixel_conv2d
from lit_adaptconv.layers.squeeze import hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode, Sides

EPSILON = 1e-5


class LSConv2d(ConvLayer):
    """LS convolution ("see large, focus small"): small depthwise kernels, generated from a large window.

        z          = pointwise ⋆ x, or x itself
        h          = relu(norm(mix · norm(window ⋆ relu(norm(reduce · z)))))
        K[g,t](p)  = scale[g,t] · normalise(span[g,t] · h(p)) + shift[g,t]
        out[c](p)  = bias[c] + Σ_t K[⌊c / group_channels⌋,t](p) · z[c](p + t)

    `window` is a depthwise convolution, of 7×7 in the paper; `reduce`, `mix` and `span` are 1×1 convolutions, `norm`
    is batch normalisation, and `normalise` brings the kernels of a group to mean 0 and deviation 1 over taps and
    pixels of an image. The sum, which its authors call SKA, never mixes channels. Where `in_channels` differs from
    `out_channels`, a 1×1 convolution (without bias) comes first; with `pointwise=True` it always does. A last group may
    have fewer channels than the others. The batch normalisation and residual connection around it in the authors'
    block are left to the network.

    With h = max(4, C_out // 2) hidden channels, g = ceil(C_out / group_channels) groups and windows of (qh, qw), it has
    `(C_out * C_in // groups if mixed else 0) + h * (C_out + qh * qw + h + 6) + (h + 3) * kh * kw * g + C_out`
    parameters, where `mixed` tells whether there is the first 1×1 convolution.

    Initialisation: outputs keep the variance of a standardised input: 95 % of the kernels' comes from `shift`, the rest
    through `scale` from the image, as in `Involution2d`. The first 1×1 convolution keeps it; `bias` starts at zero.

    Source: Wang, Chen, Lin, Han, Ding, *LSNet: See Large, Focus Small*, CVPR 2025, https://arxiv.org/abs/2503.23135.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        groups: Channel groups of the first 1×1 convolution; the kernels themselves never mix channels.
        generator_size: Size of the large window, `q` or `(qh, qw)`; it lies around the kernel's centre, and is dilated
            as the kernel is.
        group_channels: Number of channels that share a kernel.
        pointwise: Whether the first 1×1 convolution is also there where `in_channels` equals `out_channels`.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> LSConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("context", "span")

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
        generator_size: int | tuple[int, int] = 7,
        group_channels: int = 8,
        pointwise: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        geometry = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        super().__init__(*geometry, padding_mode, generator_size)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.group_channels, self.kernel_groups = channel_groups(out_channels, group_channels)
        self.pointwise = mixing_conv2d(in_channels, out_channels, groups, pointwise, **where)
        hidden = hidden_channels(out_channels, 2)
        self.context = _Context(out_channels, hidden, self.generator_size, self.stride, self.dilation, **where)
        kernels = self.kernel_groups * math.prod(self.kernel_size)
        self.span = nn.Conv2d(hidden, kernels, 1, **where)
        self.kernel_scale = nn.Parameter(torch.empty(kernels, **where))
        self.kernel_shift = nn.Parameter(torch.empty(kernels, **where))
        self.bias = nn.Parameter(torch.empty(out_channels, **where)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        if self.pointwise is not None:
            draw(self.pointwise.weight, 1 / math.sqrt(self.in_channels // self.groups))
        for part in self.context.children():
            part.reset_parameters()  # type: ignore[operator]
        self.span.reset_parameters()
        taps = math.prod(self.kernel_size)
        draw(self.kernel_shift, math.sqrt(STATIC_SHARE / taps))
        nn.init.constant_(self.kernel_scale, math.sqrt((1 - STATIC_SHARE) / taps))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch = batch if self.pointwise is None else self.pointwise(batch)
        batch, padding = self.padded(batch)
        around = self.windows(batch, padding)
        kernels = self.span(self.context(batch, around.generator_pad))
        scale, shift = (value.to(kernels.dtype) for value in (self.kernel_scale, self.kernel_shift))
        kernels = torch.group_norm(kernels, self.kernel_groups, scale, shift, EPSILON)
        kernels = torch.unflatten(kernels, 1, (self.kernel_groups, -1))
        out = per_pixel_conv2d(
            batch, kernels, self.group_channels, around, self.kernel_size, self.stride, self.dilation
        )
        return self._with_bias(out)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Multiply-adds of the kernels with the pixels under them, and the kernels' normalisation."""
        normalised = 2 * self.span.out_channels * math.prod(output_shape[1:])
        return elementwise_product_flops(output_shape, math.prod(self.kernel_size)) + normalised


class _Context(nn.Module):
    """What a pixel sees in a large window: 1×1, a depthwise convolution, 1×1, each with batch normalisation."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        size: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
        **where: Any,
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False, **where)
        self.reduce_norm = nn.BatchNorm2d(hidden, **where)
        self.window = nn.Conv2d(hidden, hidden, size, stride, dilation=dilation, groups=hidden, bias=False, **where)
        self.window_norm = nn.BatchNorm2d(hidden, **where)
        self.mix = nn.Conv2d(hidden, hidden, 1, bias=False, **where)
        self.mix_norm = nn.BatchNorm2d(hidden, **where)

    def forward(self, batch: Tensor, around: Sides) -> Tensor:
        seen = F.relu(self.reduce_norm(self.reduce(batch)))
        seen = self.window_norm(self.window(F.pad(seen, around)))
        return F.relu(self.mix_norm(self.mix(seen)))
