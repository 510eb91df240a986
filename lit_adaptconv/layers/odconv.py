"""ODConv: attention over every dimension of the kernel space, for every sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import PartLinear, draw
from lit_adaptconv.layers.per_sample import gate_kernels, mix_kernels
from lit_adaptconv.layers.squeeze import Squeeze, hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode

GATE_START = 2.0


class ODConv2d(ConvLayer):
    """Omni-dimensional dynamic convolution: a kernel for every sample, weighted along taps, channels, filters, kernels.

        h(x)            = relu(fc · mean over pixels of x)
        α_s, α_c, α_f   = sigmoid of one linear layer of h each: one weight per tap, input channel, output channel
        α_w             = softmax(linear layer of h / temperature): one weight per kernel
        K[o,c,t](x)     = α_f[o] · α_c[c] · α_s[t] · Σ_i α_w[i] · weight[i,o,c,t]
        out             = bias + K(x) ⋆ x

    α_s, α_c and α_f are shared by the kernels. One kernel (the paper's 1×) needs no α_w, so that its layer is left out.
    With h = max(4, C_in // reduction) hidden units, it has
    `num_kernels * C_out * C_in // groups * kh * kw + (C_in + 1) * h
    + (h + 1) * (kh * kw + C_in + C_out + (num_kernels if num_kernels > 1 else 0)) + C_out` parameters.

    `temperature` is a buffer, as in `DynamicConv2d`: the paper lowers it from 30 to 1 over the first ten epochs.

    Initialisation: the biases of the three sigmoid layers are 2, so that the gates start nearly open (0.88), and the
    kernels such that outputs keep the variance of a standardised input:
    sigmoid(2)⁶ * (C_in / groups) * kh * kw * Var(weight) / num_kernels = 1. `bias` starts at zero.

    Source: Li, Zhou, Yao, *Omni-Dimensional Dynamic Convolution*, ICLR 2022, https://arxiv.org/abs/2209.07947.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        num_kernels: Number of kernels that are averaged; 1 and 4 in the paper.
        reduction: How many times narrower than the input the attention's hidden layer is.
        temperature: What the logits of α_w are divided by.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> ODConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("squeeze", "tap_gate", "channel_gate", "filter_gate", "attention")

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
        num_kernels: int = 1,
        reduction: int = 16,
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
        self.tap_gate = PartLinear(hidden, math.prod(self.kernel_size), device=device, dtype=dtype)
        self.channel_gate = PartLinear(hidden, in_channels, device=device, dtype=dtype)
        self.filter_gate = PartLinear(hidden, out_channels, device=device, dtype=dtype)
        self.attention = nn.Linear(hidden, num_kernels, device=device, dtype=dtype) if num_kernels > 1 else None
        shape = (num_kernels * out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.start_temperature = temperature
        self.temperature: Tensor
        self.register_buffer("temperature", torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes, and set the temperature to its start."""
        nn.init.constant_(self.temperature, self.start_temperature)
        self.squeeze.linear.reset_parameters()
        if self.attention is not None:
            self.attention.reset_parameters()
        for gate in (self.tap_gate, self.channel_gate, self.filter_gate):
            nn.Linear.reset_parameters(gate)
            nn.init.constant_(gate.bias, GATE_START)
        open_share = 1 / (1 + math.exp(-GATE_START))
        terms = math.prod(self.weight.shape[1:])
        draw(self.weight, math.sqrt(self.num_kernels / terms) / open_share**3)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        kernels = self._kernels(self.squeeze(batch))
        return self._convolve_per_sample(batch, kernels, self.bias)

    def _kernels(self, hidden: Tensor) -> Tensor:
        """(N, hidden) to every sample's kernel, (N, C_out, C_in // groups, kh, kw)."""
        taps, channels, filters = (
            torch.sigmoid(gate(hidden)) for gate in (self.tap_gate, self.channel_gate, self.filter_gate)
        )
        kernels = self.weight.to(hidden.dtype)
        if self.attention is None:
            kernels = kernels[None]
        else:
            kernels = mix_kernels(torch.softmax(self.attention(hidden) / self.temperature, dim=1), kernels)
        return gate_kernels(kernels, filters, channels, taps, self.groups)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """The gates' activations, and their multiplications into one sample's kernel; with several kernels, α_w."""
        gates = sum(gate.out_features for gate in (self.tap_gate, self.channel_gate, self.filter_gate))
        mixed = 2 * self.num_kernels if self.attention is not None else 0
        return 3 * self.out_channels * math.prod(self.weight.shape[1:]) + gates + mixed
