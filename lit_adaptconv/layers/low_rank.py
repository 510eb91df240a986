"""The low-rank adaptive layer: the per-pixel kernel is a mixture of a few learned kernels."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer, elementwise_product_flops
from lit_adaptconv.layers.init import Init, draw, draw_as_conv2d, second_moment
from lit_adaptconv.ops.activation import GateActivation, activate
from lit_adaptconv.ops.gated_sum import gated_sum
from lit_adaptconv.ops.geometry import Padding, PaddingMode, Sides, check_one_of

GATE_STD = {"tanh": 0.5, "sigmoid": 0.5, "identity": 0.25}  # what does not saturate must start closer to constant
CHANNEL_BLOCK = 16
"""Output channels that an ordinary convolution in float32 computes at once, on CPUs with vectors of 512 bits."""


class LowRankAdaptiveConv2d(ConvLayer):
    """Adaptive convolution, low rank: `rank` learned kernels, mixed at every pixel by what a small filter sees there.

        K[o,c,t](p) = Σ_r act( gate_bias[r,o] + (gate_weight[r,o] ⋆ input)(p) ) · weight[r,o,c,t]
        out[o](p)   = bias[o] + Σ_c Σ_t K[o,c,t](p) · input[c](p + t)

    which equals `bias + Σ_r act(conv_gate_r(input)) * conv_weight_r(input)`: two ordinary convolutions per rank. It has
    `rank * C_out * ((C_in / groups) * (k² + q²) + 1) + C_out` parameters; with a shared gate
    `rank * (C_out * (C_in / groups) * k² + groups * ((C_in / groups) * q² + 1)) + C_out`.

    Initialisation: with n = (C_in / groups) * kh * kw terms in an output's sum and a standardised input, outputs keep
    the input's variance if rank * n * Var(weight) * E[act(gate)²] = 1. The argument of the gate has mean `gate_mean`
    and standard deviation 0.5. With mean 1 the layer starts near an ordinary convolution, modulated by its input. A
    gate centred on zero would make it a quadratic form, which explodes through ten layers. So would a gate of deviation
    0.5 that does not saturate, which is why "identity" has 0.25. E[act²] for that normal distribution gives
    Var(weight). All draws are uniform; `bias` starts at zero. With `init="default"` both convolutions and their biases
    start as PyTorch's own do, and `gate_mean` is not used.

    Source: with rank one it is a gated convolution, and with `gate_activation="identity"` the bilinear one, of Dauphin,
    Fan, Auli, Grangier, *Language Modeling with Gated Convolutional Networks*, ICML 2017,
    https://arxiv.org/abs/1612.08083. Reading it as a kernel per pixel, the parametrisation and the initialisation are
    this project's.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        rank: Number of kernels that are mixed.
        generator_size: Size of the window that the gate sees, `q` or `(qh, qw)`; None means `kernel_size`.
        gate_activation: Applied to the gate, "tanh", "sigmoid" or "identity".
        shared_gate: Whether the output channels of a group share one gate for each of the mixed kernels.
        gate_mean: Mean of the gate's argument at the start.
        init: How the parameters start, "balanced" or "default".

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> LowRankAdaptiveConv2d(3, 8, 3, padding=1)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("gate_weight",)

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
        rank: int = 1,
        generator_size: int | tuple[int, int] | None = None,
        gate_activation: GateActivation = "tanh",
        shared_gate: bool = False,
        gate_mean: float = 1.0,
        init: Init = "balanced",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        geometry = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        super().__init__(*geometry, padding_mode, generator_size)
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        check_one_of(gate_activation, "gate_activation", GateActivation)
        check_one_of(init, "init", Init)
        self.rank = rank
        self.init: Init = init
        self.gate_activation: GateActivation = gate_activation
        self.shared_gate, self.gate_mean = shared_gate, gate_mean
        gates, seen = groups if shared_gate else out_channels, in_channels // groups
        empty = partial(torch.empty, device=device, dtype=dtype)
        self.gate_weight = nn.Parameter(empty(rank * gates, seen, *self.generator_size))
        self.gate_bias = nn.Parameter(empty(rank, gates))
        self.weight = nn.Parameter(empty(rank * out_channels, seen, *self.kernel_size))
        self.bias = nn.Parameter(empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        if self.init == "default":
            draw_as_conv2d(math.prod(self.gate_weight.shape[1:]), self.gate_weight, self.gate_bias)
            draw_as_conv2d(math.prod(self.weight.shape[1:]), self.weight, self.bias)
            return
        std = GATE_STD[self.gate_activation]
        power = second_moment(self.gate_activation, self.gate_mean, std)
        draw(self.gate_weight, std / math.sqrt(math.prod(self.gate_weight.shape[1:])))
        nn.init.constant_(self.gate_bias, self.gate_mean)
        draw(self.weight, 1 / math.sqrt(self.rank * math.prod(self.weight.shape[1:]) * power))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def start_from(self, convolution: nn.Conv2d) -> None:
        """Take over a trained convolution: the mixture is its kernel, until the gates' weights leave zero.

        The gates start constant. The kernels that are mixed keep their differences, so that they learn apart.

        Raises:
            ValueError: Its geometry or bias differs from this layer's, or its gates start closed; nothing is changed.
        """
        self.check_source(convolution)
        gate = activate(torch.tensor(self.gate_mean, dtype=torch.float64), self.gate_activation).item()
        if gate == 0:
            raise ValueError(f"gates that start closed hide the convolution: gate_mean must not be {self.gate_mean:g}")
        nn.init.zeros_(self.gate_weight)
        nn.init.constant_(self.gate_bias, self.gate_mean)
        kernels = torch.unflatten(self.weight, 0, (self.rank, -1))
        kernels.add_((convolution.weight / gate - kernels.sum(0)) / self.rank)
        if self.bias is not None and convolution.bias is not None:
            self.bias.copy_(convolution.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        batch, padding = self.padded(batch)
        around = self.windows(batch, padding)
        values = None
        if self._as_one(batch.device.type):
            filtered = self._filter(batch, torch.cat((self.gate_weight, self.weight)), around.kernel_pad)
        else:
            filtered = self._filter(batch, self._by_group(self.gate_weight).flatten(0, 2), around.generator_pad)
            values = self._filter(batch, self._by_group(self.weight).flatten(0, 2), around.kernel_pad)
        return gated_sum(filtered, values, self.gate_bias, self.bias, self.groups, self.gate_activation)

    def _as_one(self, device: str) -> bool:
        """Whether one convolution with stacked weights computes both: where that fills what two leave half empty.

        A GPU reads its input once instead of twice. Elsewhere, stacking may save nothing and costs copies. In groups it
        takes longer than two everywhere.
        """
        if self.kernel_size != self.generator_size or self.groups > 1:
            return False
        filters = [self.gate_bias.numel(), self.rank * self.out_channels]
        fewer_blocks = -(-sum(filters) // CHANNEL_BLOCK) < sum(-(-n // CHANNEL_BLOCK) for n in filters)
        return device == "cuda" or fewer_blocks

    def _by_group(self, parameter: Tensor) -> Tensor:
        """(rank * C_out, ...) as (groups, rank, C_out // groups, ...)."""
        return torch.unflatten(parameter, 0, (self.rank, self.groups, -1)).transpose(0, 1)

    def _filter(self, batch: Tensor, weight: Tensor, pad: Sides) -> Tensor:
        """Convolve, padded by these amounts; negative ones crop."""
        left, right, top, bottom = pad
        padding: int | tuple[int, int] = 0
        if top == bottom >= 0 and left == right >= 0:
            padding = (top, left)
        else:
            batch = F.pad(batch, pad)
        return F.conv2d(batch, weight, None, self.stride, padding, self.dilation, self.groups)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """FLOPs of the gates' activation, and of the products with them."""
        gates = self.gate_bias.numel() * (self.gate_activation != "identity")
        return elementwise_product_flops(output_shape, self.rank) + gates * math.prod(output_shape[1:])
