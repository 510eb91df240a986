"""Decoupled dynamic filters: a filter for every pixel times a filter for every channel of the sample."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.per_pixel import mixing_conv2d, per_pixel_conv2d
from lit_adaptconv.layers.squeeze import Squeeze, hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode
from lit_adaptconv.ops.precision import wide_type

EPSILON = 1e-5


class DecoupledDynamicFilter2d(ConvLayer):
    """Decoupled dynamic filter: depthwise filters, the product of a spatial and a channel filter, both generated.

        z           = pointwise ⋆ x, or x itself
        S[t](p)     = normalise(spatial · z(p))                       one filter per pixel, shared by the channels
        D[c,t]      = normalise(channel · relu(fc · mean of z))       one filter per channel, shared by the pixels
        out[c](p)   = bias[c] + Σ_t S[t](p) · D[c,t] · z[c](p + t)

    `normalise` brings each filter to mean 0 and deviation 1 over its taps, then scales and shifts it by learned
    numbers: one pair for S, a pair for every channel of D. A single tap (1×1) has no deviation and is only
    scaled and shifted.

    The filter has as many output as input channels and never mixes them. Where `in_channels` differs from
    `out_channels`, a 1×1 convolution (without bias) comes first; with `pointwise=True` it always does. S is generated
    from the pixel at the window's centre, also with a stride. With h = max(4, C_out // reduction) hidden units, it has
    `(C_out * C_in // groups if mixed else 0) + (C_out + 1) * kh * kw + 2 + (C_out + 1) * h + (h + 1) * C_out * kh * kw
    + 2 * C_out + C_out` parameters, where `mixed` tells whether there is a 1×1 convolution.

    Initialisation: the shifts start at 0, the scales at 1 / sqrt(kh * kw) for S and 1 for D, so that outputs keep the
    variance of a standardised input; the 1×1 convolution keeps it too. `bias` starts at zero.

    Source: Zhou, Jampani, Pi, Liu, Yang, *Decoupled Dynamic Filter Networks*, CVPR 2021,
    https://arxiv.org/abs/2104.14107.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        groups: Channel groups of the 1×1 convolution; the filters themselves never mix channels.
        reduction: How many times narrower than the output the channel branch's hidden layer is; 5 in the paper.
        pointwise: Whether the 1×1 convolution is also there where `in_channels` equals `out_channels`.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> DecoupledDynamicFilter2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("spatial", "squeeze", "channel")

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
        reduction: int = 5,
        pointwise: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode, 1)
        hidden = hidden_channels(out_channels, reduction)
        taps = math.prod(self.kernel_size)
        self.pointwise = mixing_conv2d(in_channels, out_channels, groups, pointwise, device=device, dtype=dtype)
        self.spatial = nn.Conv2d(out_channels, taps, 1, self.stride, device=device, dtype=dtype)
        self.spatial_scale = nn.Parameter(torch.empty(1, device=device, dtype=dtype))
        self.spatial_shift = nn.Parameter(torch.empty(1, device=device, dtype=dtype))
        self.squeeze = Squeeze(out_channels, hidden, device=device, dtype=dtype)
        self.channel = nn.Linear(hidden, out_channels * taps, device=device, dtype=dtype)
        self.channel_scale = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        self.channel_shift = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        if self.pointwise is not None:
            draw(self.pointwise.weight, 1 / math.sqrt(self.in_channels // self.groups))
        self.spatial.reset_parameters()
        self.squeeze.linear.reset_parameters()
        self.channel.reset_parameters()
        nn.init.constant_(self.spatial_scale, 1 / math.sqrt(math.prod(self.kernel_size)))
        nn.init.ones_(self.channel_scale)
        for shift in (self.spatial_shift, self.channel_shift, self.bias):
            if shift is not None:
                nn.init.zeros_(shift)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch = batch if self.pointwise is None else self.pointwise(batch)
        padded, padding = self.padded(batch)
        around = self.windows(padded, padding)
        spatial = self.spatial(F.pad(padded, around.generator_pad))
        spatial = _normalise(spatial.unsqueeze(1), self.spatial_scale, self.spatial_shift)
        channel = torch.unflatten(self.channel(self.squeeze(batch)), 1, (self.out_channels, -1))[..., None, None]
        channel = _normalise(channel, self.channel_scale, self.channel_shift)
        out = per_pixel_conv2d(padded, spatial * channel, 1, around, self.kernel_size, self.stride, self.dilation)
        return self._with_bias(out)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Products of both filters, after both were normalised, and their multiply-adds with the pixels under them."""
        taps = math.prod(self.kernel_size)
        normalised = 2 * taps * (math.prod(output_shape[1:]) + self.out_channels)
        return elementwise_product_flops(output_shape, taps) + taps * math.prod(output_shape) + normalised


def _normalise(filters: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise `(N, G, taps, H, W)` over the taps, then scale and shift by `(G,)`; in float32 at least."""
    wide = filters.to(wide_type(filters.dtype))
    if filters.shape[2] > 1:
        wide = wide - wide.mean(2, keepdim=True)
        wide = wide * torch.rsqrt((wide * wide).mean(2, keepdim=True) + EPSILON)
    by_group = (-1, 1, 1, 1)
    return (wide * scale.view(by_group).to(wide.dtype) + shift.view(by_group).to(wide.dtype)).to(filters.dtype)
