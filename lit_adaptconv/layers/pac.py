"""Pixel-adaptive convolution: one kernel, whose taps count the less, the more their pixel differs from the centre."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.per_pixel import under_each_tap
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class PixelAdaptiveConv2d(ConvLayer):
    """Pixel-adaptive convolution: a static kernel, weighed at every pixel by the likeness of the pixels under it.

        K[t](p)   = exp(-½ Σ_c (guide_scale[c] · (x[c](p + t) - x[c](p)))²)
        out[o](p) = bias[o] + Σ_c Σ_t weight[o,c,t] · K[t](p) · x[c](p + t)

    The Gaussian K compares each pixel under the kernel with the one at its centre, over all channels. Its guide is the
    input itself, because a layer has nothing else. The paper takes any features and leaves their scale open; here the
    scale of each channel is learned. It has
    `C_out * C_in // groups * kh * kw + C_in + C_out` parameters: the paper adds none to a convolution, this one C_in.

    Initialisation: `guide_scale` starts at 1 / sqrt(2 · C_in), so that unrelated pixels of a standardised input are at
    a mean squared distance of 1, and the weights such that outputs keep its variance. `bias` starts at zero.

    Source: Su, Jampani, Sun, Gallo, Learned-Miller, Kautz, *Pixel-Adaptive Convolutional Neural Networks*, CVPR 2019,
    https://arxiv.org/abs/1904.05373.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> PixelAdaptiveConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
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
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode, 1)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.guide_scale = nn.Parameter(torch.empty(in_channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        scale = 1 / math.sqrt(2 * self.in_channels)
        nn.init.constant_(self.guide_scale, scale)
        # E[K² x²] of a standard normal x whose pixel is unrelated to the one at the centre.
        spread = 1 + 4 * scale**2
        power = spread ** (-self.in_channels / 2) * (1 + 2 * scale**2) / spread
        pairs = zip(self.kernel_size, self.dilation, strict=True)
        sees_centre = all(step * (size - 1) // 2 % step == 0 for size, step in pairs)  # by a tap whose K is 1
        terms = math.prod(self.kernel_size) * power + (1 - power if sees_centre else 0)
        draw(self.weight, 1 / math.sqrt(self.in_channels // self.groups * terms))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        around = self.windows(batch, padding)
        taps = under_each_tap(F.pad(batch, around.kernel_pad), self.kernel_size, self.stride, self.dilation)
        centre = F.pad(batch, around.generator_pad)[..., :: self.stride[0], :: self.stride[1]]
        scale = self.guide_scale[:, None, None]
        likeness = [torch.exp(-0.5 * ((pixels - centre) * scale).square().sum(1, keepdim=True)) for pixels in taps]
        weighed = torch.stack([k * pixels for k, pixels in zip(likeness, taps, strict=True)], dim=2)
        weight = self.weight.flatten(1)[..., None, None]
        return F.conv2d(weighed.flatten(1, 2).to(batch.dtype), weight, self.bias, groups=self.groups)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Of every tap: the scaled squared difference of each channel and its sum, a factor, exp, and the products."""
        return math.prod(self.kernel_size) * math.prod(output_shape[1:]) * (5 * self.in_channels + 2)
