"""Dynamic Filter Networks, dynamic local filtering: a small network generates the filters of every pixel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.adaptive import STATIC_SHARE
from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import PartConv2d, draw
from lit_adaptconv.layers.squeeze import hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class LocalDynamicFilter2d(ConvLayer):
    """Dynamic local filtering of a Dynamic Filter Network: every pixel generates the filters that are applied there.

        h(p)        = relu(features ⋆ x)(p)
        K[o,c,t](p) = weight[0,o,c,t] + Σ_j h_j(p) · weight[j,o,c,t]
        out[o](p)   = bias[o] + Σ_c Σ_t K[o,c,t](p) · x[c](p + t)

    The paper leaves the filter-generating network open; this one is a convolution with ReLU and a linear (1×1) layer,
    which sees all channels around the pixel. As its last layer is linear, the layer is computed as h + 1 ordinary
    convolutions, weighted at every pixel: as many multiplications as with the kernels written out, and C_in · k² times
    less memory. With h = max(4, C_in // reduction) hidden channels and generator windows of (qh, qw), it has
    `(C_in * qh * qw + 1) * h + (h + 1) * C_out * C_in // groups * kh * kw + C_out` parameters.

    Initialisation: outputs keep the variance of a standardised input: 95 % of the kernels' comes from weight[0], the
    rest from h, so that depth does not compound what the input adds. Biases start at zero.

    Source: De Brabandere, Jia, Tuytelaars, Van Gool, *Dynamic Filter Networks*, NeurIPS 2016,
    https://arxiv.org/abs/1605.09673.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        generator_size: Size of the window that the generator sees, `q` or `(qh, qw)`; None means `kernel_size`.
        reduction: How many times narrower than the input the generator's hidden layer is.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> LocalDynamicFilter2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("features",)

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
        generator_size: int | tuple[int, int] | None = None,
        reduction: int = 4,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        geometry = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        super().__init__(*geometry, padding_mode, generator_size)
        self.hidden = hidden_channels(in_channels, reduction)
        self.features = PartConv2d(
            in_channels,
            self.hidden,
            self.generator_size,
            self.stride,
            dilation=self.dilation,
            device=device,
            dtype=dtype,
        )
        shape = ((self.hidden + 1) * out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        draw(self.features.weight, 1 / math.sqrt(math.prod(self.features.weight.shape[1:])))
        terms = math.prod(self.weight.shape[1:])
        relu_power = 0.5  # E[relu(z)²] for z standard normal
        draw(self.weight[: self.out_channels], math.sqrt(STATIC_SHARE / terms))
        draw(self.weight[self.out_channels :], math.sqrt((1 - STATIC_SHARE) / (terms * self.hidden * relu_power)))
        for bias in (self.features.bias, self.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        around = self.windows(batch, padding)
        hidden = F.relu(self.features(F.pad(batch, around.generator_pad)))
        by_group = torch.unflatten(self.weight, 0, (self.hidden + 1, self.groups, -1)).transpose(0, 1)
        values = F.conv2d(
            F.pad(batch, around.kernel_pad),
            by_group.flatten(0, 2),
            None,
            self.stride,
            0,
            self.dilation,
            self.groups,
        )
        values = torch.unflatten(values, 1, (self.groups, self.hidden + 1, -1))
        out = values[:, :, 0] + (values[:, :, 1:] * hidden[:, None, :, None]).sum(2)
        return self._with_bias(out.flatten(1, 2))

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Multiply-adds of the hidden channels with their convolutions."""
        return elementwise_product_flops(output_shape, self.hidden) + self.hidden * math.prod(output_shape[1:])
