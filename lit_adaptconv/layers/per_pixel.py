"""A convolution in which every pixel has its own kernel, shared by the channels of a group."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.layers.init import PartConv2d
from lit_adaptconv.ops.geometry import Windows
from lit_adaptconv.ops.precision import wide_type


def mixing_conv2d(in_channels: int, out_channels: int, groups: int, always: bool, **where: Any) -> PartConv2d | None:
    """The 1×1 convolution before a layer that mixes no channels; None where their number stays, unless `always`."""
    if always or in_channels != out_channels:
        return PartConv2d(in_channels, out_channels, 1, groups=groups, bias=False, **where)
    return None


def channel_groups(channels: int, group_channels: int) -> tuple[int, int]:
    """How many channels share a kernel, at most all, and how many such groups there are; the last may have fewer.

    Raises:
        ValueError: `group_channels` is below 1.
    """
    if group_channels < 1:
        raise ValueError(f"group_channels must be at least 1, got {group_channels}")
    group_channels = min(group_channels, channels)
    return group_channels, math.ceil(channels / group_channels)


def per_pixel_conv2d(
    input: Tensor,
    kernels: Tensor,
    group_channels: int,
    windows: Windows,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Weigh the pixels under every output pixel by its own kernel, channel by channel.

        out[c](p) = Σ_t kernels[group of c, t](p) · input[c](p + t)

    The sum runs over shifted views of the input, so no patches are kept for the backward pass. Narrow floating-point
    types are summed in float32 and rounded once.

    Args:
        input: `(N, C, H, W)`.
        kernels: `(N, G, kh * kw, H_out, W_out)`, taps in row-major order, with G = ceil(C / group_channels).
        group_channels: Number of neighbouring channels that share a kernel; a last group may have fewer.
        windows: Where the kernel lies.
        kernel_size: `(kh, kw)`.
        stride: Step between output pixels.
        dilation: Distance between taps.

    Returns:
        `(N, C, H_out, W_out)`, of the type of `kernels`.
    """
    wide = wide_type(input.dtype)
    channels = input.shape[1]
    short = kernels.shape[1] * group_channels - channels
    padded = F.pad(input, (*windows.kernel_pad, 0, short) if short else windows.kernel_pad).to(wide)
    grouped = torch.unflatten(padded, 1, (-1, group_channels))
    out: Tensor | None = None
    weights = kernels.to(wide).unsqueeze(2).unbind(3)
    for pixels, weight in zip(under_each_tap(grouped, kernel_size, stride, dilation), weights, strict=True):
        out = pixels * weight if out is None else torch.addcmul(out, pixels, weight)
    assert out is not None
    out = out.flatten(1, 2).to(kernels.dtype)
    return out[:, :channels] if short else out


def under_each_tap(
    padded: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> list[Tensor]:
    """The pixels under each tap of a kernel, in row-major order: views `(..., H_out, W_out)` of a padded image."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    views = []
    for top in range(0, reach[0] + 1, dilation[0]):
        for left in range(0, reach[1] + 1, dilation[1]):
            # Counted from the end, the last window needs no output size, which an export could not prove to fit.
            down = slice(top, (top - reach[0]) or None, stride[0])
            right = slice(left, (left - reach[1]) or None, stride[1])
            views.append(padded[..., down, right])
    return views
