"""CondConv: every sample's kernel is a mixture of experts, weighted by independent sigmoids."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.per_sample import mix_kernels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class CondConv2d(ConvLayer):
    """Conditionally parameterised convolution: a kernel for every sample, mixed from learned experts.

        α(x) = sigmoid(routing · mean over pixels of x)
        out  = bias + (Σ_e α_e(x) · weight[e]) ⋆ x

    It has `num_experts * C_out * C_in // groups * kh * kw + num_experts * C_in + C_out` parameters. The routing has no
    bias, as in the paper; `bias` is one for all samples.

    Initialisation: the routing starts as `nn.Linear` does, around α = 1/2, and the experts such that their mixture
    keeps the variance of a standardised input: num_experts * (C_in / groups) * kh * kw * Var(weight) / 4 = 1.

    Source: Yang, Bender, Le, Ngiam, *CondConv: Conditionally Parameterized Convolutions for Efficient Inference*,
    NeurIPS 2019, https://arxiv.org/abs/1904.04971.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        num_experts: Number of kernels that are mixed; 8 in most of the paper.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> CondConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("routing",)

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
        num_experts: int = 8,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        if num_experts < 1:
            raise ValueError(f"num_experts must be at least 1, got {num_experts}")
        self.num_experts = num_experts
        self.routing = nn.Linear(in_channels, num_experts, bias=False, device=device, dtype=dtype)
        shape = (num_experts * out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        self.routing.reset_parameters()
        terms = math.prod(self.weight.shape[1:])
        draw(self.weight, 2 / math.sqrt(self.num_experts * terms))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        routing = torch.sigmoid(self.routing(batch.mean((2, 3))))
        kernels = mix_kernels(routing, self.weight)
        return self._convolve_per_sample(batch, kernels, self.bias)
