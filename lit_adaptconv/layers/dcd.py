"""DCD: every sample's kernel is a static one with scaled filters, and a small dynamic matrix that fuses channels."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import PartLinear, draw
from lit_adaptconv.layers.squeeze import hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode


class DCDConv2d(ConvLayer):
    """Dynamic convolution decomposition: a static kernel, its filters scaled, plus a low-rank dynamic fusion.

        s(x)       = squeeze · mean over pixels of x
        h(x)       = s ⊙ hard(gate · s)
        Λ(x), Φ(x) = hard(scale · h), one number per output channel; and fusion · h, a matrix of l × m
        K[o](x)    = Λ[o](x) · weight[o] + Σ_i Σ_j out_weight[o,i] · Φ[i,j](x) · in_weight[·,j]
        out        = bias + K(x) ⋆ x

    hard(z) = min(max(z + 3, 0), 6) / 3, which is 1 at 0. Where a filter sees several channels, the dynamic part fuses
    them at the kernel's central tap (of an even kernel the one before the middle); where it sees one, as in a depthwise
    convolution, it fuses the taps. The generator's layers have no bias. The authors' code, which has the gate, also
    normalises both latent spaces over the batch; here nothing depends on the rest of the batch.

    With h = max(4, C_in // reduction) hidden units, l = ⌊√C_in⌋, and m = l where a filter sees several channels, else
    m = max(1, kh * kw // 2), it has
    `C_out * C_in // groups * kh * kw + C_out * l + (C_in if C_in > groups else kh * kw) * m
    + (C_in + h) * h + h * (C_out + l * m) + C_out` parameters.

    Initialisation: outputs keep the variance of a standardised input, Λ is near 1 and the dynamic part small. `bias`
    starts at zero.

    Source: Li, Chen, Dai, Liu, Chen, Yu, Yuan, Liu, Chen, Vasconcelos, *Revisiting Dynamic Convolution via Matrix
    Decomposition*, ICLR 2021, https://arxiv.org/abs/2103.08756.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        reduction: How many times narrower than the input the generator's hidden layer is.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> DCDConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("squeeze", "scale", "fusion")

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
        reduction: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        hidden, taps = hidden_channels(in_channels, reduction), math.prod(self.kernel_size)
        self.fuses_channels = in_channels > groups
        rows = math.isqrt(in_channels)
        columns = rows if self.fuses_channels else max(1, taps // 2)
        self.latent = (rows, columns)
        self.squeeze = _GatedSqueeze(in_channels, hidden, device=device, dtype=dtype)
        self.scale = PartLinear(hidden, out_channels, bias=False, device=device, dtype=dtype)
        self.fusion = PartLinear(hidden, rows * columns, bias=False, device=device, dtype=dtype)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.out_weight = nn.Parameter(torch.empty(out_channels, rows, device=device, dtype=dtype))
        fused = in_channels if self.fuses_channels else taps
        self.in_weight = nn.Parameter(torch.empty(fused, columns, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        for layer in (self.squeeze.linear, self.squeeze.gate, self.scale, self.fusion):
            nn.Linear.reset_parameters(layer)
        draw(self.weight, 1 / math.sqrt(math.prod(self.weight.shape[1:])))
        draw(self.out_weight, 1 / math.sqrt(self.latent[0]))
        draw(self.in_weight, 1 / math.sqrt(self.latent[1]))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        kernels = self._kernels(self.squeeze(batch))
        return self._convolve_per_sample(batch, kernels, self.bias)

    def _kernels(self, hidden: Tensor) -> Tensor:
        """(N, hidden) to every sample's kernel, (N, C_out, C_in // groups, kh, kw)."""
        scaled = self.weight.to(hidden.dtype) * _hard(self.scale(hidden))[..., None, None, None]
        mixed = self.out_weight.to(hidden.dtype) @ torch.unflatten(self.fusion(hidden), 1, self.latent)
        inner = self.in_weight.to(hidden.dtype)
        if not self.fuses_channels:
            return scaled + torch.unflatten(mixed @ inner.T, 2, (1, *self.kernel_size))
        by_group = torch.unflatten(mixed, 1, (self.groups, -1)) @ torch.unflatten(inner, 0, (self.groups, -1)).mT
        (top, left), (height, width) = ((k - 1) // 2 for k in self.kernel_size), self.kernel_size
        around = (left, width - 1 - left, top, height - 1 - top)
        return scaled + F.pad(by_group.flatten(1, 2)[..., None, None], around)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Λ and the filters' scaling, and the sum of both parts where the dynamic one is not zero."""
        fused = self.in_channels // self.groups if self.fuses_channels else math.prod(self.kernel_size)
        return 3 * self.out_channels + self.weight.numel() + self.out_channels * fused


class _GatedSqueeze(nn.Module):
    """Channel means, a linear layer, and a gate of its outputs on each of them: `(N, C, H, W)` to `(N, hidden)`."""

    def __init__(self, in_channels: int, hidden: int, **where: Any) -> None:
        super().__init__()
        self.linear = PartLinear(in_channels, hidden, bias=False, **where)
        self.gate = PartLinear(hidden, hidden, bias=False, **where)

    def forward(self, input: Tensor) -> Tensor:
        squeezed: Tensor = self.linear(input.mean((2, 3)))
        return squeezed * _hard(self.gate(squeezed))


def _hard(value: Tensor) -> Tensor:
    """A hard sigmoid from 0 to 2, which is 1 at zero."""
    return F.relu6(value + 3) / 3
