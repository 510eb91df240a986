"""KernelWarehouse: every sample's kernel is put together of cells, which several layers draw from one store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor, nn

from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.init import draw
from lit_adaptconv.layers.squeeze import Squeeze, hidden_channels
from lit_adaptconv.ops.geometry import Padding, PaddingMode

EPSILON = 1e-3


class KernelWarehouseConv2d(ConvLayer):
    """KernelWarehouse: kernels are cut into cells; each is a mixture of the cells in a warehouse that layers share.

        z(x)       = attention · relu(fc · mean over pixels of x), a matrix of m × (n + 1)
        α[i,j](x)  = τ · β[i,j] + (1 - τ) · z[i,j] / Σ_k |z[i,k]|
        cell i     = Σ_j≤n α[i,j](x) · warehouse[j]
        out        = bias + K(x) ⋆ x, K(x) assembled from the m cells

    A kernel is cut along taps (unless `by_tap` is off), output and input channels into m cells of the same shape. The
    layers of a network that have the same number of input channels (and the same taps, if those are not cut) share a
    warehouse of n cells, up to `max_layers` of them in a row. A cell has all their input channels, and as many output
    channels as the narrowest of them. In the paper's ResNets these are the stages. If a layer's output channels are
    not a multiple of that number, its last cell is cut off; the paper takes greatest common divisors. A layer that is
    alone has its own warehouse.

    α may be negative. Its absolute values, including those for a cell of zeros (k = n + 1), add up to 1. At the first
    training batch τ is 1 and α is β, which assigns to each cell of a kernel its own cell of the warehouse, or the one
    of zeros. τ falls to 0 over `warmup` batches. Networks with small warehouses learn better this way.

    Alone, with n cells of s weights in the warehouse and h = max(min_hidden, C_in // reduction) hidden units, it has
    `n * s + (C_in + 1) * h + (h + 1) * m * (n + 1) + C_out` parameters; at the defaults m and n are kh * kw, and s is
    C_out * C_in // groups.

    Initialisation: with α = β, outputs keep the variance of a standardised input. `bias` starts at zero. The paper's
    hidden layer has batch normalisation and at least 16 units; this one has a bias and at least 4, for small networks.

    Source: Li, Yao, *KernelWarehouse: Rethinking the Design of Dynamic Convolution*, ICML 2024,
    https://arxiv.org/abs/2406.07879.

    The first arguments, `device` and `dtype` are those of `torch.nn.Conv2d`.

    Args:
        ratio: How many cells the warehouse has for each cell of the kernels: a whole number, or one divided by one
            (the paper's n, or b).
        cell_ratio: How large a side of a cell is relative to the channels of the layers, above 0 and at most 1.
        by_tap: Whether each tap has cells of its own; else a cell has all taps, and attention costs (kh * kw)² times
            less, as small networks need.
        reduction: How many times narrower than the input the attention's hidden layer is.
        min_hidden: Smallest width of that layer; 16 in the paper.
        warmup: Number of training batches over which τ falls from 1 to 0; with 0 it is 0 from the start.
        max_layers: Largest number of layers that share a warehouse.

    Raises:
        ValueError: An argument is out of its range; the message names it and its value.

    Examples:
        >>> KernelWarehouseConv2d(16, 8, 3, padding=1)(torch.randn(2, 16, 32, 32)).shape
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
        ratio: float = 1.0,
        cell_ratio: float = 1.0,
        by_tap: bool = True,
        reduction: int = 16,
        min_hidden: int = 4,
        warmup: int = 500,
        max_layers: int = 6,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        exact = Fraction(ratio).limit_denominator(10_000) if 0 < ratio < math.inf else Fraction(0)
        if not exact or 1 not in (exact.numerator, exact.denominator):
            raise ValueError(f"ratio must be a whole number or one divided by one, got {ratio}")
        if not 0 < cell_ratio <= 1:
            raise ValueError(f"cell_ratio must be above 0 and at most 1, got {cell_ratio}")
        for name, value, least in (("min_hidden", min_hidden, 1), ("warmup", warmup, 0), ("max_layers", max_layers, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.ratio, self.cell_ratio, self.by_tap, self.reduction = ratio, cell_ratio, by_tap, reduction
        self.min_hidden, self.warmup, self.max_layers = min_hidden, warmup, max_layers
        self.whole_ratio, self.parts = exact.numerator, exact.denominator
        self.hidden = max(min_hidden, hidden_channels(in_channels, reduction))
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.squeeze = Squeeze(in_channels, self.hidden, **where)
        self.batches: Tensor
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64, device=device))
        self.bias = nn.Parameter(torch.zeros(out_channels, **where)) if bias else None
        self._take_from(Warehouse([self], **where), 0)

    @classmethod
    def join_layers(cls, layers: Iterable[KernelWarehouseConv2d]) -> None:
        """Give layers of a network the warehouses that they share; those that share one already keep it."""

        def alike(layer: KernelWarehouseConv2d) -> tuple[Any, ...]:
            own_taps = (0, 0) if layer.by_tap else layer.kernel_size
            options = (layer.ratio, layer.cell_ratio, layer.by_tap, layer.max_layers)
            return (layer.in_channels, layer.groups, *own_taps, *options)

        alone = [layer for layer in layers if layer.warehouse.layers == 1]
        for _, found in groupby(sorted(alone, key=alike), key=alike):
            together = list(found)
            for start in range(0, len(together), together[0].max_layers):
                some = together[start : start + together[0].max_layers]
                if len(some) > 1:
                    old = some[0].warehouse.weight
                    warehouse = Warehouse(some, device=old.device, dtype=old.dtype)
                    for index, layer in enumerate(some):
                        layer._take_from(warehouse, index)

    def _take_from(self, warehouse: Warehouse, index: int) -> None:
        """Draw the kernels from a warehouse, in which this layer has a section of its own."""
        self.warehouse = warehouse
        self.first_cell = sum(warehouse.sections[:index])
        self.blocks = _blocks(self, warehouse.cell)
        mixtures = math.prod(self.blocks)
        weight = warehouse.weight
        self.attention = nn.Linear(
            self.hidden, mixtures * (warehouse.cells + 1), device=weight.device, dtype=weight.dtype
        )
        self.start: Tensor
        start = torch.empty(mixtures, dtype=torch.int64, device=weight.device)
        self.register_buffer("start", start, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the class describes, but for the cells, which are the warehouse's."""
        self.squeeze.linear.reset_parameters()
        self.attention.reset_parameters()
        nn.init.zeros_(self.batches)
        taken = _taken(len(self.start), self.parts)
        before = accumulate(taken, initial=0)
        cells = self.warehouse.cells
        own = [self.first_cell + self.whole_ratio * n if has else cells for n, has in zip(before, taken, strict=False)]
        self.start.copy_(torch.tensor(own))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _convolve(self, batch: Tensor) -> Tensor:
        if self.training:
            self.batches.add_(1)
        kernels = self._kernels(self.squeeze(batch))
        return self._convolve_per_sample(batch, kernels, self.bias)

    def _kernels(self, hidden: Tensor) -> Tensor:
        """(N, hidden) to every sample's kernel, (N, C_out, C_in // groups, kh, kw)."""
        cells = self.warehouse.cells
        logits = torch.unflatten(self.attention(hidden), 1, (-1, cells + 1))
        attention = logits / (logits.abs().sum(2, keepdim=True) + EPSILON)
        if self.warmup:
            temperature = (self.warmup - self.batches).clamp(min=0).to(attention.dtype) / self.warmup
            at_start = self.start[:, None] == torch.arange(cells + 1, device=self.start.device)
            attention = temperature * at_start + (1 - temperature) * attention
        store = self.warehouse.weight.view(cells, -1).to(attention.dtype)
        mixed = attention[..., :cells] @ store
        mixed = torch.unflatten(torch.unflatten(mixed, 2, self.warehouse.cell), 1, self.blocks)
        kernels = mixed.permute(0, 3, 5, 4, 6, 1, 7, 2, 8).flatten(7, 8).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        return kernels[:, : self.out_channels, : self.in_channels // self.groups]

    def extra_flops(self, output_shape: tuple[int, ...]) -> int:
        """The attention's normalisation, when τ is 0: absolute values, their sum, and a division."""
        return 3 * self.attention.out_features


class Warehouse(nn.Module):
    """The cells that some layers share.

    Attributes:
        weight: The cells, stacked along output channels.
        cell: Shape of a cell: output and input channels, and taps.
        cells: Their number, n.
        layers: Number of layers that share them.
        sections: How many cells there are for each of these layers.
    """

    def __init__(self, layers: Sequence[KernelWarehouseConv2d], **where: Any) -> None:
        super().__init__()
        first = layers[0]
        narrowest = min(layer.out_channels for layer in layers)
        sides = (narrowest, first.in_channels // first.groups)
        channels = (max(1, int(side * first.cell_ratio)) for side in sides)
        self.cell = (*channels, *((1, 1) if first.by_tap else first.kernel_size))
        self.layers = len(layers)
        self.sections, self.stds = [], []
        for layer in layers:
            mixtures = math.prod(_blocks(layer, self.cell))
            taken = sum(_taken(mixtures, layer.parts))
            self.sections.append(layer.whole_ratio * taken)
            terms = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
            self.stds.append(math.sqrt(mixtures / taken / terms))
        self.cells = sum(self.sections)
        self.weight = nn.Parameter(torch.empty(self.cells * self.cell[0], *self.cell[1:], **where))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the cells anew, each section as the layer that begins with it needs them."""
        start = 0
        for cells, std in zip(self.sections, self.stds, strict=True):
            end = start + cells * self.cell[0]
            draw(self.weight[start:end], std)
            start = end

    def extra_repr(self) -> str:
        """Return the number of cells and their channels."""
        return f"{self.cells} cells of {'×'.join(map(str, self.cell))}, layers={self.layers}"


def _blocks(layer: ConvLayer, cell: tuple[int, ...]) -> tuple[int, ...]:
    """Into how many cells a kernel is cut along rows and columns of taps, output and input channels."""
    rows, columns = (taps // own for taps, own in zip(layer.kernel_size, cell[2:], strict=True))
    return (
        rows,
        columns,
        math.ceil(layer.out_channels / cell[0]),
        math.ceil(layer.in_channels // layer.groups / cell[1]),
    )


def _taken(mixtures: int, parts: int) -> list[bool]:
    """Which cells of a kernel begin as a cell of the warehouse, and not as zeros: one in `parts`, along diagonals."""
    return [i % parts == i // parts % parts for i in range(mixtures)]
