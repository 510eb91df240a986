"""Involution: every pixel generates its own kernel from itself, shared by the channels of a group."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.adaptive import STATIC_SHARE
from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import PartConv2d, draw
from lit_adaptconv.layers.per_pixel import channel_groups, mixing_conv2d, per_pixel_conv2d
from lit_adaptconv.layers.squeeze import hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class Involution2d(ConvLayer):
    """Involution: a kernel for every pixel, generated from that pixel and shared by `group_channels` channels.

        z           = pointwise ⋆ x, or x itself
        H[g,t](p)   = span[g,t] · relu(batch_norm(reduce · z(p)))
        out[c](p)   = bias[c] + Σ_t H[⌊c / group_channels⌋,t](p) · z[c](p + t)

    An involution has as many output as input channels and never mixes them. Where `in_channels` differs from
    `out_channels`, a 1×1 convolution (without bias) comes first, as the authors change widths; with `pointwise=True`
    it always does. With a stride, H is generated from the mean of the stride's pixels, from the window's centre on, as
    in the paper; what lies beyond the image is zero. A last group may have fewer channels than the others.

    With h = max(4, C_out // reduction) hidden channels and g = ceil(C_out / group_channels) groups, it has
    `(C_out * C_in // groups if mixed else 0) + C_out * h + 2 * h + (h + 1) * kh * kw * g + C_out` parameters, where
    `mixed` tells whether there is a 1×1 convolution.

    Initialisation: outputs keep the variance of a standardised input. 95 % of the kernels' variance comes from the bias
    of `span` and the rest from the image. If kernels followed the image alone, a bright spot would get a large kernel,
    and ten layers would multiply the variance by 10⁴ and more. The 1×1 convolution keeps it; `bias` starts at zero.

    Source: Li, Hu, Wang, Li, She, Zhu, Zhang, Chen, *Involution: Inverting the Inherence of Convolution for Visual
    Recognition*, CVPR 2021, https://arxiv.org/abs/2103.06255.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        groups: Channel groups of the 1×1 convolution; the filters themselves never mix channels.
        group_channels: Number of channels that share a kernel.
        reduction: How many times narrower than the output the generator's hidden layer is.
        pointwise: Whether the 1×1 convolution is also there where `in_channels` equals `out_channels`.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> Involution2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("reduce", "span")

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
        group_channels: int = 16,
        reduction: int = 4,
        pointwise: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode, 1)
        self.group_channels, self.kernel_groups = channel_groups(out_channels, group_channels)
        hidden = hidden_channels(out_channels, reduction)
        self.pointwise = mixing_conv2d(in_channels, out_channels, groups, pointwise, device=device, dtype=dtype)
        self.reduce = nn.Conv2d(out_channels, hidden, 1, bias=False, device=device, dtype=dtype)
        self.norm = nn.BatchNorm2d(hidden, device=device, dtype=dtype)
        taps = math.prod(self.kernel_size)
        self.span = PartConv2d(hidden, self.kernel_groups * taps, 1, device=device, dtype=dtype)
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        if self.pointwise is not None:
            draw(self.pointwise.weight, 1 / math.sqrt(self.in_channels // self.groups))
        self.reduce.reset_parameters()
        self.norm.reset_parameters()
        taps = math.prod(self.kernel_size)
        relu_power = 0.5  # E[relu(z)²] for z standard normal, as batch normalisation makes it
        assert self.span.bias is not None
        draw(self.span.bias, math.sqrt(STATIC_SHARE / taps))
        draw(self.span.weight, math.sqrt((1 - STATIC_SHARE) / (taps * self.span.in_channels * relu_power)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch = batch if self.pointwise is None else self.pointwise(batch)
        batch, padding = self.padded(batch)
        around = self.windows(batch, padding)
        left, right, top, bottom = around.generator_pad
        seen = F.pad(batch, (left, right + self.stride[1] - 1, top, bottom + self.stride[0] - 1))
        kernels = self.span(F.relu(self.norm(self.reduce(_block_means(seen, self.stride)))))
        kernels = torch.unflatten(kernels, 1, (self.kernel_groups, -1))
        out = per_pixel_conv2d(
            batch, kernels, self.group_channels, around, self.kernel_size, self.stride, self.dilation
        )
        return self._with_bias(out)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Multiply-adds of the kernels with the pixels under them, the generator's ReLU, and the stride's means."""
        relu = self.reduce.out_channels * math.prod(output_shape[1:])
        means = math.prod(self.stride) * math.prod(output_shape) if self.stride != (1, 1) else 0
        return elementwise_product_flops(output_shape, math.prod(self.kernel_size)) + relu + means


def _block_means(images: Tensor, block: tuple[int, int]) -> Tensor:
    """Average each block of pixels, as `F.avg_pool2d` does, which torch 2.11 and 2.12 can't export for any size."""
    if block == (1, 1):
        return images
    height, width = block
    shifted = [
        images[..., slice(row, (row + 1 - height) or None, height), slice(column, (column + 1 - width) or None, width)]
        for row in range(height)
        for column in range(width)
    ]
    total = shifted[0]
    for pixels in shifted[1:]:
        total = total + pixels
    return total / len(shifted)
