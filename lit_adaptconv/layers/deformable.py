"""Deformable convolution: every pixel generates where its kernel's taps lie."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import PartConv2d, draw
from lit_adaptconv.ops.geometry import Padding, PaddingMode
from lit_adaptconv.ops.precision import wide_type


class DeformableConv2d(ConvLayer):
    """Deformable convolution: one kernel, whose taps every pixel shifts (v1) and weighs (v2) by what it sees.

        Δ[t](p)   = the two rows of `offsets ⋆ x` for tap t
        m[t](p)   = sigmoid(its third), or 1 with `modulated=False`
        out[o](p) = bias[o] + Σ_c Σ_t weight[o,c,t] · m[t](p) · x[c](p + t + Δ[t](p))

    x is interpolated bilinearly, and is zero outside the image. Each of `offset_groups` groups of input channels has
    its own Δ and m. `offsets` is one convolution over all channels with the kernel, stride, padding and dilation of
    the layer. With n = 3 if modulated, else 2, it has
    `C_out * C_in // groups * kh * kw + n * offset_groups * kh * kw * (C_in * kh * kw + 1) + C_out` parameters.

    Computed by `torchvision.ops.deform_conv2d`; narrow floating-point types in float32, rounded once.

    Initialisation: `offsets` starts at zero, as in the papers: Δ = 0 and m = 1/2, an ordinary convolution. The weights
    are such that outputs keep the variance of a standardised input: (C_in / groups) * kh * kw * Var(weight) * m² = 1.

    Source: Dai et al., *Deformable Convolutional Networks*, ICCV 2017, https://arxiv.org/abs/1703.06211, and
    (modulated) Zhu, Hu, Lin, Dai, *Deformable ConvNets v2*, CVPR 2019, https://arxiv.org/abs/1811.11168.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        modulated: Whether taps are weighed too (v2) or only shifted (v1).
        offset_groups: Groups of input channels with offsets of their own; divides `in_channels`.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> DeformableConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("offsets",)

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
        modulated: bool = True,
        offset_groups: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        if offset_groups < 1 or in_channels % offset_groups:
            raise ValueError(f"offset_groups must divide in_channels={in_channels}, got {offset_groups}")
        self.modulated = modulated
        self.offset_groups = offset_groups
        maps = (3 if modulated else 2) * offset_groups * math.prod(self.kernel_size)
        self.offsets = PartConv2d(
            in_channels, maps, self.kernel_size, self.stride, dilation=self.dilation, device=device, dtype=dtype
        )
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        nn.init.zeros_(self.offsets.weight)
        draw(self.weight, (2 if self.modulated else 1) / math.sqrt(math.prod(self.weight.shape[1:])))
        for bias in (self.offsets.bias, self.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        batch = F.pad(batch, self.windows(batch, padding).kernel_pad)
        offsets = self.offsets(batch)
        shifts = 2 * self.offset_groups * math.prod(self.kernel_size)
        wide = wide_type(batch.dtype)
        out: Tensor = deform_conv2d(
            batch.to(wide),
            offsets[:, :shifts].to(wide),
            self.weight.to(wide),
            None if self.bias is None else self.bias.to(wide),
            self.stride,
            dilation=self.dilation,
            mask=torch.sigmoid(offsets[:, shifts:].to(wide)) if self.modulated else None,
        ).to(offsets.dtype)
        return out

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Multiply-adds of kernel and bilinear interpolation (four pixels a tap and channel), and the sigmoid."""
        taps, pixels = math.prod(self.kernel_size), math.prod(output_shape[1:])
        sampled = self.in_channels * taps
        sampling = 9 * sampled + self.offset_groups * taps if self.modulated else 8 * sampled
        return elementwise_product_flops(output_shape, sampled // self.groups) + sampling * pixels
