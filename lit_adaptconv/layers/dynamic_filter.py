"""Dynamic Filter Networks, dynamic convolution: a small network generates the filters of every sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lit_adaptconv.layers.adaptive import STATIC_SHARE
from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import PartLinear, draw
from lit_adaptconv.layers.squeeze import Squeeze, hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class DynamicFilter2d(ConvLayer):
    """Dynamic convolution of a Dynamic Filter Network: every sample generates the filters that are applied to it.

        h(x) = relu(fc · mean over pixels of x)
        K(x) = filters.bias + filters.weight · h(x)
        out  = bias + K(x) ⋆ x

    The paper leaves the filter-generating network open ("any differentiable architecture"); this one is its multilayer
    perceptron, on channel means, so that it serves images of any size. With h = max(4, C_in // reduction) hidden units,
    it has `(C_in + 1) * h + (h + 1) * C_out * C_in // groups * kh * kw + C_out` parameters.

    Initialisation: outputs keep the variance of a standardised input, with kernels from `filters.bias`. What h adds is
    small: the means of a standardised input are near zero, and for h of order 1 it is 5 %. `bias` starts at zero.

    Source: De Brabandere, Jia, Tuytelaars, Van Gool, *Dynamic Filter Networks*, NeurIPS 2016,
    https://arxiv.org/abs/1605.09673.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        reduction: How many times narrower than the input the generator's hidden layer is.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> DynamicFilter2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("squeeze", "filters")

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
        reduction: int = 4,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        hidden = hidden_channels(in_channels, reduction)
        self.filter_shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.squeeze = Squeeze(in_channels, hidden, device=device, dtype=dtype)
        self.filters = PartLinear(hidden, math.prod(self.filter_shape), device=device, dtype=dtype)
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        self.squeeze.linear.reset_parameters()
        terms = math.prod(self.filter_shape[1:])
        draw(self.filters.bias, math.sqrt(1 / terms))
        draw(self.filters.weight, math.sqrt((1 - STATIC_SHARE) / (terms * self.filters.in_features)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        kernels = torch.unflatten(self.filters(self.squeeze(batch)), 1, self.filter_shape)
        return self._convolve_per_sample(batch, kernels, self.bias)
