"""Dynamic Convolution: every sample's kernel is an average of a few, weighted by attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.per_sample import mix_kernels
from lit_adaptconv.layers.squeeze import Squeeze, hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class DynamicConv2d(ConvLayer):
    """Dynamic convolution: a kernel for every sample, averaged from a few by softmax attention.

        π(x) = softmax( (fc2 · relu(fc1 · mean over pixels of x)) / temperature )
        out  = Σ_k π_k(x) · bias[k] + (Σ_k π_k(x) · weight[k]) ⋆ x

    With h = max(4, C_in // reduction) hidden units, it has
    `num_kernels * (C_out * C_in // groups * kh * kw + C_out) + (C_in + 1) * h + (h + 1) * num_kernels` parameters.

    The softmax is flattened by a temperature of 30, so that all kernels learn from the start. The paper gains a little
    more by lowering it to 1 over the first epochs: `temperature` is a buffer (saved with the weights) that a training
    loop may fill.

    Initialisation: attention starts nearly even, and the kernels such that their average keeps the variance of a
    standardised input: (C_in / groups) * kh * kw * Var(weight) / num_kernels = 1. Biases start at zero.

    Source: Chen, Dai, Liu, Chen, Yuan, Liu, *Dynamic Convolution: Attention over Convolution Kernels*, CVPR 2020,
    https://arxiv.org/abs/1912.03458.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        bias: Whether to add a learned constant to each output channel of each kernel.
        num_kernels: Number of kernels that are averaged.
        reduction: How many times narrower than the input the attention's hidden layer is.
        temperature: What the attention's logits are divided by.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> DynamicConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("squeeze", "attention")

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
        num_kernels: int = 4,
        reduction: int = 4,
        temperature: float = 30.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        if num_kernels < 1:
            raise ValueError(f"num_kernels must be at least 1, got {num_kernels}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.num_kernels = num_kernels
        hidden = hidden_channels(in_channels, reduction)
        self.squeeze = Squeeze(in_channels, hidden, device=device, dtype=dtype)
        self.attention = nn.Linear(hidden, num_kernels, device=device, dtype=dtype)
        shape = (num_kernels * out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(num_kernels, out_channels, device=device, dtype=dtype)) if bias else None
        self.start_temperature = temperature
        self.temperature: Tensor
        self.register_buffer("temperature", torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes, and set the temperature to its start."""
        nn.init.constant_(self.temperature, self.start_temperature)
        self.squeeze.linear.reset_parameters()
        self.attention.reset_parameters()
        draw(self.weight, math.sqrt(self.num_kernels / math.prod(self.weight.shape[1:])))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        attention = torch.softmax(self.attention(self.squeeze(batch)) / self.temperature, dim=1)
        kernels = mix_kernels(attention, self.weight)
        bias = None if self.bias is None else attention @ self.bias.to(attention.dtype)
        return self._convolve_per_sample(batch, kernels, bias)
