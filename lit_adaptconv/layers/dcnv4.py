"""Deformable convolution v4: every pixel generates where its taps lie and how much each counts."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import PartConv2d, draw
from lit_adaptconv.layers.per_pixel import channel_groups
from lit_adaptconv.ops.geometry import Padding, PaddingMode
from lit_adaptconv.ops.precision import wide_type


class DCNv4Conv2d(ConvLayer):
    """Deformable convolution v4: moved taps, weighed by unbounded numbers that the pixel at the centre generates.

        v                  = value · x
        Δ[g,t](p), m[g,t]  = three rows of offsets · x(p), for tap t of group g
        z[c](p)            = Σ_t m[⌊c / group_channels⌋,t](p) · v[c](p + t + Δ[⌊c / group_channels⌋,t](p))
        out                = bias + output · z

    `value`, `offsets` and `output` are 1×1 convolutions. v is interpolated bilinearly, and is zero outside the image.
    In contrast to `DeformableConv2d` no kernel is learned, and m passes no sigmoid (nor v3's softmax). `group_channels`
    neighbouring channels share Δ and m; a last group may have fewer. The authors' code widens `offsets` to a multiple
    of 8 for the sake of its CUDA kernel; this does not. With g = ceil(C_out / group_channels) groups, it has
    `C_out * (C_in // groups + 1) + 3 * g * kh * kw * (C_in + 1) + C_out * C_out // groups + C_out` parameters.

    Sampled by `torchvision.ops.deform_conv2d`; narrow floating-point types in float32, rounded once.

    Initialisation: Δ starts at zero and m independent of the image, as in the authors' code; there m is 0 too, here
    random numbers whose squares add up to 1 over the taps, so that outputs keep the variance of a standardised input.
    The 1×1 convolutions keep it too; other biases start at zero.

    Source: Xiong et al., *Efficient Deformable ConvNets: Rethinking Dynamic and Sparse Operator for Vision
    Applications*, CVPR 2024, https://arxiv.org/abs/2401.06197.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        groups: Channel groups of `value` and `output`.
        group_channels: Number of channels that share Δ and m.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> DCNv4Conv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
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
        group_channels: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode, 1)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.group_channels, self.kernel_groups = channel_groups(out_channels, group_channels)
        maps = 3 * self.kernel_groups * math.prod(self.kernel_size)
        self.value = PartConv2d(in_channels, out_channels, 1, groups=groups, **where)
        self.offsets = PartConv2d(in_channels, maps, 1, self.stride, **where)
        self.output = PartConv2d(out_channels, out_channels, 1, groups=groups, bias=False, **where)
        self.bias = nn.Parameter(torch.empty(out_channels, **where)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        for layer in (self.value, self.output):
            draw(layer.weight, 1 / math.sqrt(layer.weight.shape[1]))
        nn.init.zeros_(self.offsets.weight)
        for bias in (self.value.bias, self.offsets.bias, self.bias):
            if bias is not None:
                nn.init.zeros_(bias)
        assert self.offsets.bias is not None
        masks = self.offsets.bias[self.offsets.out_channels // 3 * 2 :]
        nn.init.uniform_(masks, -1, 1)
        with torch.no_grad():
            by_group = masks.view(self.kernel_groups, -1)
            by_group.div_(by_group.norm(dim=1, keepdim=True))

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        around = self.windows(batch, padding)
        offsets = self.offsets(F.pad(batch, around.generator_pad))
        shifts = self.offsets.out_channels // 3 * 2
        short = self.kernel_groups * self.group_channels - self.out_channels
        left, right, top, bottom = around.kernel_pad
        values = F.pad(self.value(batch), (left, right, top, bottom, 0, short))
        wide = wide_type(batch.dtype)
        out = deform_conv2d(
            values.to(wide),
            offsets[:, :shifts].to(wide),
            torch.ones(values.shape[1], 1, *self.kernel_size, dtype=wide, device=values.device),
            stride=self.stride,
            dilation=self.dilation,
            mask=offsets[:, shifts:].to(wide),
        ).to(values.dtype)
        return self._with_bias(self.output(out[:, : self.out_channels]))

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Of every tap and channel: bilinear interpolation between four pixels, and a multiply-add with m."""
        return 10 * math.prod(self.kernel_size) * math.prod(output_shape)
