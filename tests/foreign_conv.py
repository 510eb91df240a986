"""Convolutions as other people write them, which know nothing of this package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Size = int | tuple[int, int]


class GatedConv(nn.Module):
    """A convolution times a gate for each output channel; it has no argument for a device or a dtype."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.gate = nn.Parameter(torch.full((out_channels, 1, 1), start))

    def forward(self, input: Tensor) -> Tensor:
        return self.gate * self.conv(input)


def gated(in_channels: int, out_channels: int, kernel_size: Size, **options: Any) -> nn.Module:
    """Makes a layer of a type that is told nowhere."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size, **options), nn.Sigmoid())


def without_groups(
    in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Size = 0, bias: bool = True
) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)


def outputs_first(out_channels: int, in_channels: int, kernel_size: Size, **options: Any) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, kernel_size, **options)


def with_heads(in_channels: int, out_channels: int, kernel_size: Size, heads: int, **options: Any) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, kernel_size, **options)


class UncertainConv(nn.Conv2d):
    """Decides by the values of its input what to compute, which nothing can export."""

    def forward(self, input: Tensor) -> Tensor:
        found = super().forward(input)
        return found if input.device.type == "meta" or float(found.detach().sum()) > 0 else -found
