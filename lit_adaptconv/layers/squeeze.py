"""What a whole image says about its kernel: its channel means, through one small layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_HIDDEN = 4


def hidden_channels(in_channels: int, reduction: int) -> int:
    """Width of a generator's hidden layer: `in_channels // reduction`, at least 4.

    The papers reduce layers of hundreds of channels; below 4 hidden units with ReLU, a narrow layer could start with
    all of them dead.

    Raises:
        ValueError: `reduction` is below 1.
    """
    if reduction < 1:
        raise ValueError(f"reduction must be at least 1, got {reduction}")
    return max(MIN_HIDDEN, in_channels // reduction)


class Squeeze(nn.Module):
    """Global average pooling, a linear layer and ReLU: `(N, C, H, W)` to `(N, hidden)`.

    Attributes:
        linear: The linear layer, from C to `hidden`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, hidden, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Summarise every image of the batch."""
        return F.relu(self.linear(input.mean((2, 3))))
