"""A conv kind as anyone writes it: a class with the arguments of `torch.nn.Conv2d`, and options of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class GatedConv2d(nn.Module):
    """A convolution whose output a second one opens and closes: `y = conv(x) · sigmoid(sharpness · gate(x))`.

    Args:
        args: Those of `nn.Conv2d`.
        sharpness: How fast a gate opens.
        options: Those of `nn.Conv2d`.
    """

    def __init__(self, *args: Any, sharpness: float = 1.0, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(*args, **options)
        self.gate = nn.Conv2d(*args, **options)
        self.sharpness = sharpness

    def forward(self, images: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H', W')`."""
        opened: Tensor = self.conv(images) * torch.sigmoid(self.sharpness * self.gate(images))
        return opened
