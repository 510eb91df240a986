"""From uint8 pixels to what a network sees, a whole batch at a time on its device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F


def shift_and_flip(
    images: UInt8[Tensor, "batch channels height width"], shift: int, flip: bool, generator: torch.Generator
) -> UInt8[Tensor, "batch channels height width"]:
    """Move every image by its own random offset and mirror it left to right with probability one half.

    Args:
        images: pixels, shape (B, C, H, W), on any device.
        shift: the largest offset in pixels; both offsets are uniform on -shift … shift. Uncovered pixels become 0.
        flip: whether to mirror.
        generator: a CPU generator, so that the draws are the same on every device.
    """
    batch, channels, height, width = images.shape
    rows = torch.arange(height).expand(batch, height)
    columns = torch.arange(width).expand(batch, width)
    if flip:
        mirrored = torch.rand(batch, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if shift:
        down, right = torch.randint(0, 2 * shift + 1, (2, batch, 1), generator=generator)
        rows, columns = rows + down, columns + right
        images = F.pad(images, (shift, shift, shift, shift))
    # Not waited for: what comes from ordinary memory is copied aside before the call returns.
    rows, columns = (offsets.to(images.device, non_blocking=True) for offsets in (rows, columns))
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

    def __call__(
        self, images: UInt8[Tensor, "batch channels height width"], generator: torch.Generator | None
    ) -> Float32[Tensor, "batch channels height width"]:
        """Return the batch that a network sees; without a generator nothing is random."""
        if generator is not None and (self.shift or self.flip):
            images = shift_and_flip(images, self.shift, self.flip, generator)
        return images.to(torch.float32).mul_(self.scale).add_(self.offset)
