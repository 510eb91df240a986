"""From uint8 pixels to what a network sees, a whole batch at a time on its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from lit_adaptconv.data.augment import Transforms, drawing_from


def draw_moves(images: int, shift: int, flip: bool, generator: torch.Generator) -> Int32[Tensor, "3 images"]:
    """Draw how every image is moved, by its own random offset, and mirrored left to right, with probability one half.

    Args:
        images: number of images.
        shift: the largest offset in pixels; both offsets are uniform on -shift … shift.
        flip: whether to mirror.
        generator: a CPU generator, so that the draws are the same on every device.

    Returns:
        For each image the first row and the first column that it shows of the padded image, and whether it is mirrored.
    """
    offsets, mirrored = torch.zeros(2, images, dtype=torch.int32), torch.zeros(1, images, dtype=torch.bool)
    if flip:
        mirrored = torch.rand(1, images, generator=generator) < 0.5
    if shift:
        offsets = torch.randint(0, 2 * shift + 1, (2, images), generator=generator, dtype=torch.int32)
    return torch.cat((offsets, mirrored))


def move(
    images: UInt8[Tensor, "batch channels height width"], moves: Int32[Tensor, "3 batch"], shift: int
) -> UInt8[Tensor, "batch channels height width"]:
    """Move and mirror images as it was drawn. Uncovered pixels become 0.

    Args:
        images: pixels, shape (B, C, H, W), on any device.
        moves: what `draw_moves` drew for them, on the images' device.
        shift: the largest offset in pixels.
    """
    batch, channels, height, width = images.shape
    if shift:
        images = F.pad(images, (shift, shift, shift, shift))
    down, right, mirrored = moves[:, :, None]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    columns = torch.where(mirrored == 1, width - 1 - columns, columns) + right
    source = ((rows + down)[:, :, None] * (width + 2 * shift) + columns[:, None, :]).view(batch, 1, height * width)
    return images.flatten(2).gather(2, source.expand(-1, channels, -1)).view(batch, channels, height, width)


class Draws(NamedTuple):
    """How a batch is augmented.

    Attributes:
        images: the number of its images.
        moves: what `draw_moves` drew for them, on the images' device; None where they are not moved.
        seed: what transforms draw from; None where there are none.
    """

    images: int
    moves: Tensor | None
    seed: int | None


class Preprocess:
    """Augment, where it was drawn how, and normalise: (x / 255 - mean) / std for every channel.

    Pixels that a shift uncovers are black (0) before they are normalised, as in `torchvision.transforms.RandomCrop`.
    `transforms` act on images that are moved and mirrored already.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        shift: int,
        flip: bool,
        device: torch.device,
        transforms: Transforms | None = None,
    ) -> None:
        self.shift = shift
        self.flip = flip
        self.device = device
        self.transforms = transforms
        means, deviations = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (mean, std))
        self.scale = (1 / (255 * deviations)).float().to(device)
        self.offset = (-means / deviations).float().to(device)

    @property
    def is_random(self) -> bool:
        """Whether training images are augmented."""
        return bool(self.shift or self.flip or self.transforms)

    def draw(self, sizes: Sequence[int], generator: torch.Generator) -> list[Draws]:
        """Draw how the images of batches of these sizes are augmented."""
        moves: Sequence[Tensor | None] = [None] * len(sizes)
        seeds: Sequence[int | None] = [None] * len(sizes)
        if self.shift or self.flip:
            drawn = draw_moves(sum(sizes), self.shift, self.flip, generator).to(self.device)
            moves = torch.split(drawn, list(sizes), 1)
        if self.transforms:
            seeds = torch.randint(2**62, (len(sizes),), generator=generator).tolist()
        return [Draws(*batch) for batch in zip(sizes, moves, seeds, strict=True)]

    def __call__(
        self,
        images: UInt8[Tensor, "batch channels height width"],
        labels: Int64[Tensor, " batch"],
        draws: Sequence[Draws] = (),
    ) -> tuple[Float32[Tensor, "batch channels height width"], Tensor]:
        """Return the batch that a network sees, augmented as it was drawn for each of its parts, one after the other.

        Returns:
            The images, and the labels: the given ones, or probabilities, float32, shape (batch, number of classes),
            where transforms mix images.
        """
        moved = [draw.moves for draw in draws if draw.moves is not None]
        if moved:
            images = move(images, torch.cat(moved, 1), self.shift)
        if self.transforms is None or not draws:
            return self._normalised(images), labels
        sizes = [draw.images for draw in draws]
        parts = [
            self._transformed(self.transforms, *part)
            for part in zip(torch.split(images, sizes), torch.split(labels, sizes), draws, strict=True)
        ]
        images, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        return images, labels

    def _transformed(
        self, transforms: Transforms, images: Tensor, labels: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        assert draws.seed is not None
        with drawing_from(draws.seed, self.device):
            images = self._normalised(transforms.change_pixels(images))
            return transforms.change_normalised(images, labels)

    def _normalised(self, images: Tensor) -> Tensor:
        return images.to(torch.float32).mul_(self.scale).add_(self.offset)
