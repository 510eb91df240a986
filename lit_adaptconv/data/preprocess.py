"""From uint8 pixels to what a network sees, a whole batch at a time on its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F


class Moves(NamedTuple):
    """Where the pixels of each image of a batch come from.

    Attributes:
        rows: row of the padded image that each row shows, int64, shape (B, H).
        columns: column, likewise, shape (B, W).
    """

    rows: Tensor
    columns: Tensor


def draw_moves(batch: int, size: tuple[int, int], shift: int, flip: bool, generator: torch.Generator) -> Moves:
    """Draw how every image is moved, by its own random offset, and mirrored left to right, with probability one half.

    Args:
        batch: number of images.
        size: their height and width.
        shift: the largest offset in pixels; both offsets are uniform on -shift … shift.
        flip: whether to mirror.
        generator: a CPU generator, so that the draws are the same on every device.
    """
    height, width = size
    rows = torch.arange(height).expand(batch, height)
    columns = torch.arange(width).expand(batch, width)
    if flip:
        mirrored = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if shift:
        down, right = torch.randint(0, 2 * shift + 1, (2, batch, 1), generator=generator)
        rows, columns = rows + down, columns + right
    return Moves(rows, columns)


def move(
    images: UInt8[Tensor, "batch channels height width"], moves: Moves, shift: int
) -> UInt8[Tensor, "batch channels height width"]:
    """Move and mirror images as it was drawn. Uncovered pixels become 0.

    Args:
        images: pixels, shape (B, C, H, W), on any device.
        moves: what was drawn for them.
        shift: the largest offset in pixels.
    """
    batch, channels, height, width = images.shape
    if shift:
        images = F.pad(images, (shift, shift, shift, shift))
    # Not waited for: what comes from ordinary memory is copied aside before the call returns.
    rows, columns = (offsets.to(images.device, non_blocking=True) for offsets in moves)
    source = (rows[:, :, None] * (width + 2 * shift) + columns[:, None, :]).view(batch, 1, height * width)
    return images.flatten(2).gather(2, source.expand(-1, channels, -1)).view(batch, channels, height, width)


class Preprocess:
    """Augment, where a generator is given, and normalise: (x / 255 - mean) / std for every channel.

    Pixels that a shift uncovers are black (0) before they are normalised, as in `torchvision.transforms.RandomCrop`.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], shift: int, flip: bool, device: torch.device
    ) -> None:
        self.shift = shift
        self.flip = flip
        means, deviations = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
        self.scale = (1 / (255 * deviations)).float().to(device)
        self.offset = (-means / deviations).float().to(device)

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator | None) -> Moves | None:
        """Draw how so many images of this height and width are augmented; None where they are not."""
        if generator is None or not (self.shift or self.flip):
            return None
        return draw_moves(batch, size, self.shift, self.flip, generator)

    def __call__(
        self, images: UInt8[Tensor, "batch channels height width"], moves: Moves | None
    ) -> Float32[Tensor, "batch channels height width"]:
        """Return the batch that a network sees, augmented as it was drawn."""
        if moves is not None:
            images = move(images, moves, self.shift)
        return images.to(torch.float32).mul_(self.scale).add_(self.offset)
