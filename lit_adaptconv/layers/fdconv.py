"""FDConv: kernels that share one set of Fourier coefficients, frequency by frequency, and bands that pixels weigh."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import PartConv2d, PartLinear, draw
from lit_adaptconv.layers.per_sample import gate_kernels
from lit_adaptconv.layers.squeeze import hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode
from lit_adaptconv.ops.precision import wide_type

BANDS = (2, 4, 8)
"""Each band lies above a share 1 / b of the highest frequency, and below the band before."""


class FDConv2d(ConvLayer):
    """Frequency dynamic convolution: as many kernels as groups of frequencies, with the parameters of one.

        h, L(x)     = relu(fc · m), and one number for each weight of a kernel; m = mean over pixels of x
        α(x)        = linear layers of h: one number per group of frequencies, tap, input channel, output channel
        W(x)        = Fourier transform of (2 σ(α_group(x)) at each coefficient's frequency · weight)
        K(x)        = 2 σ(α_filter) · 2 σ(α_channel) · 2 σ(α_tap) · 2 σ(L(x)) · W(x)
        z(p)        = Σ_b 2 σ(bands[b] ⋆ x)(p) · x_b(p) + lowest band of x
        out         = bias + K(x) ⋆ z

    `weight` holds the coefficients of the kernel, which is transformed as a matrix of C_out · kh rows and
    C_in / groups · kw columns. Sorted by frequency, they fall into n = min(num_kernels, their number) groups; those of
    one frequency stay together. So the n kernels of which W is a mixture have frequencies of their own. The transform
    is Hartley's, along each side: its coefficients are real, as many as weights, and have Fourier's frequencies. L is a
    convolution along the channels' normalised means. The bands x_b are those of the image itself, from above a half,
    a quarter and an eighth of the highest frequency on, in both directions; a 1×1 kernel has none. The authors' code
    has batch normalisation and a learned activation before h; here nothing depends on the rest of the batch.

    With h = max(4, C_in // reduction) hidden units and l = round(log2(C_in / groups) / 2 + 1 / 2) // 2 * 2 + 1, it has
    `C_out * C_in // groups * kh * kw + (C_in + 1) * h + (h + 1) * (n + kh * kw + C_in + C_out)
    + C_out * kh * kw * l + 2 * C_in + (3 * (9 * C_in + 1) if kh * kw > 1 else 0) + C_out` parameters.

    Initialisation: all numbers after 2 σ are near 1, the kernel is random and keeps the variance of a standardised
    input, z is x, and `bias` is zero.

    Source: Chen, Gu, Li, Wang, Zhang, Fu, *Frequency Dynamic Convolution for Dense Image Prediction*, CVPR 2025,
    https://arxiv.org/abs/2503.18783.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        num_kernels: Number of groups of frequencies; 64 in the paper.
        reduction: How many times narrower than the input the hidden layer is.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> FDConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    generator_parts = ("squeeze", "frequency_gate", "tap_gate", "channel_gate", "filter_gate", "bands")

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
        num_kernels: int = 64,
        reduction: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        if num_kernels < 1:
            raise ValueError(f"num_kernels must be at least 1, got {num_kernels}")
        self.num_kernels = num_kernels
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.sides = (shape[0] * shape[2], shape[1] * shape[3])
        self.frequency_groups = min(num_kernels, math.prod(shape))
        hidden, taps = hidden_channels(in_channels, reduction), math.prod(self.kernel_size)
        self.squeeze = _Squeeze(in_channels, hidden, out_channels * taps, groups, **where)
        self.frequency_gate = PartLinear(hidden, self.frequency_groups, **where)
        self.tap_gate = PartLinear(hidden, taps, **where)
        self.channel_gate = PartLinear(hidden, in_channels, **where)
        self.filter_gate = PartLinear(hidden, out_channels, **where)
        self.bands = _Bands(in_channels, **where) if taps > 1 else None
        self.weight = nn.Parameter(torch.empty(shape, **where))
        self.bias = nn.Parameter(torch.empty(out_channels, **where)) if bias else None
        self.group_of: Tensor
        self.register_buffer("group_of", torch.empty(self.sides, dtype=torch.int64, device=device), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes."""
        self.squeeze.draw()
        for gate in (self.frequency_gate, self.tap_gate, self.channel_gate, self.filter_gate):
            nn.Linear.reset_parameters(gate)
            nn.init.zeros_(gate.bias)
        if self.bands is not None:
            nn.init.zeros_(self.bands.attention.weight)
            assert self.bands.attention.bias is not None
            nn.init.zeros_(self.bands.attention.bias)
        draw(self.weight, 1 / math.sqrt(math.prod(self.weight.shape[1:])))
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if not self.group_of.is_meta:
            self.group_of.copy_(torch.from_numpy(frequency_groups(*self.sides, self.frequency_groups)))

    def _convolve(self, batch: Tensor) -> Tensor:
        kernels = self._kernels(*self.squeeze(batch))
        batch = batch if self.bands is None else self.bands(batch)
        return self._convolve_per_sample(batch, kernels, self.bias)

    def _kernels(self, hidden: Tensor, local: Tensor) -> Tensor:
        """(N, hidden) and (N, C_out * kh * kw, C_in // groups) to (N, C_out, C_in // groups, kh, kw)."""
        frequencies, taps, channels, filters = (
            2 * torch.sigmoid(gate(hidden))
            for gate in (self.frequency_gate, self.tap_gate, self.channel_gate, self.filter_gate)
        )
        (height, width), group_in = self.kernel_size, self.in_channels // self.groups
        coefficients = self.weight.permute(0, 2, 1, 3).reshape(self.sides).to(hidden.dtype)
        kernels = hartley(frequencies[:, self.group_of] * coefficients)
        kernels = kernels.view(-1, self.out_channels, height, group_in, width).transpose(2, 3)
        kernels = kernels * torch.unflatten(local, 1, (-1, height, width)).permute(0, 1, 4, 2, 3)
        return gate_kernels(kernels, filters, channels, taps, self.groups)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """The gates, five products for each weight, and two fast transforms of 5/2 n log2 n and a difference."""
        weights = self.weight.numel()
        gates = self.frequency_groups + math.prod(self.kernel_size) + self.in_channels + self.out_channels
        return 2 * gates + 7 * weights + math.ceil(2.5 * weights * math.log2(weights))


class _Squeeze(nn.Module):
    """What channel means say: `(N, C, H, W)` to the hidden units, and a factor for each weight of a kernel."""

    def __init__(self, in_channels: int, hidden: int, factors: int, groups: int, **where: Any) -> None:
        super().__init__()
        length = round(math.log2(in_channels // groups) / 2 + 0.5) // 2 * 2 + 1
        self.groups = groups
        self.linear = PartLinear(in_channels, hidden, **where)
        self.norm = nn.LayerNorm(in_channels, **where)
        self.local_weight = nn.Parameter(torch.empty(factors, 1, length, **where))

    def draw(self) -> None:
        """Draw the parameters anew."""
        nn.Linear.reset_parameters(self.linear)
        self.norm.reset_parameters()
        draw(self.local_weight, 0.1 / math.sqrt(self.local_weight.shape[2]))

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        means = input.mean((2, 3))
        by_group = torch.unflatten(self.norm(means), 1, (self.groups, -1))
        length = self.local_weight.shape[2]
        local = F.conv1d(by_group, self.local_weight.to(by_group.dtype), padding=length // 2, groups=self.groups)
        return F.relu(self.linear(means)), 2 * torch.sigmoid(local)


class _Bands(nn.Module):
    """Weighs the frequency bands of an image at every pixel, all channels alike."""

    def __init__(self, channels: int, **where: Any) -> None:
        super().__init__()
        self.attention = PartConv2d(channels, len(BANDS), 3, padding=1, **where)

    def forward(self, batch: Tensor) -> Tensor:
        wide = wide_type(batch.dtype)
        above = image = batch.to(wide)
        out: Tensor | None = None
        weights = 2 * torch.sigmoid(self.attention(batch).to(wide))
        for parts, weight in zip(BANDS, weights.unbind(1), strict=True):
            rows, columns = (low_pass(size, parts, above) for size in batch.shape[2:])
            below = rows @ (image @ columns)
            band = (above - below) * weight.unsqueeze(1)
            out = band if out is None else out + band
            above = below
        assert out is not None
        return (out + above).to(batch.dtype)

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """Of each band: a difference, a product and a sum for each number, and a gate for each pixel."""
        return len(BANDS) * (3 * math.prod(output_shape) + 2 * math.prod(output_shape[1:]))


def frequency_groups(rows: int, columns: int, groups: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The group of each coefficient of a matrix's transform: about as many in each, from low to high frequencies.

    A frequency is a distance from zero, in periods a pixel; coefficients of the same frequency are in one group.
    """
    sides = [np.minimum(np.arange(n), n - np.arange(n)).astype(np.int64) for n in (rows, columns)]
    squares = (sides[0][:, None] * columns) ** 2 + (sides[1][None, :] * rows) ** 2  # exact, for the sake of ties
    _, place, counts = np.unique(squares, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    found: np.ndarray[Any, np.dtype[np.int64]] = (first * groups // squares.size)[place].reshape(rows, columns)
    return found


def hartley(matrices: Tensor) -> Tensor:
    """Hartley's transform along both sides of `(..., rows, columns)`, which is its own inverse.

    In an exported program they are products with its matrix: not every runtime computes such a transform.
    """
    if matrices.shape[0] == 0:
        return matrices
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting():
        left, right = (_hartley_matrix(size, matrices) for size in matrices.shape[-2:])
        return left @ matrices @ right
    wide = matrices.to(wide_type(matrices.dtype))
    for dim in (-1, -2):
        spectrum = torch.fft.fft(wide, dim=dim, norm="ortho")
        wide = spectrum.real - spectrum.imag
    return wide.to(matrices.dtype)


def _hartley_matrix(size: int, like: Tensor) -> Tensor:
    step = np.arange(size)
    angles = 2 * np.pi / size * (step[:, None] * step[None, :] % size)
    return torch.from_numpy((np.cos(angles) + np.sin(angles)) / math.sqrt(size)).to(like)


def low_pass(size: int, parts: int, like: Tensor) -> Tensor:
    """The matrix `(size, size)` that keeps of a row of pixels the frequencies below 1 / (2 * parts) a pixel."""
    highest = (size - 1) // (2 * parts)
    step = torch.arange(size, device=like.device, dtype=like.dtype)
    angle = (step[:, None] - step) * (math.pi / size)
    same = torch.eye(size, device=like.device, dtype=like.dtype)
    # Σ cos over the frequencies kept, as a quotient of sines, whose value at 0 is the number of frequencies.
    quotient = torch.sin((2 * highest + 1) * angle) / (torch.sin(angle) + same)
    return (quotient + (2 * highest + 1) * same) / size
