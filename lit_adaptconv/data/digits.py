"""The handwritten digits that scikit-learn bundles: real images that need no download."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.data.split import stratified_split
from lit_adaptconv.data.statistics import channel_statistics
from lit_adaptconv.errors import UserError


class Digits(ImageData):
    """1,797 grey digits of 43 writers, ten classes, enlarged from 8×8 pixels.

    The originals are 8×8 with 17 grey levels, too small for a LeNet: they are enlarged bilinearly to `image_size`. A
    fifth (360) is the test set, stratified and the same for every seed.

    Source: `sklearn.datasets.load_digits`, the test part of Alpaydin and Kaynak, *Optical Recognition of Handwritten
    Digits*, UCI Machine Learning Repository, 1998.

    Args:
        image_size: height and width in pixels.
        batch_size: images per training batch and process.
        val_size: images held out for validation: below 1 a fraction of the 1,437 training images, from 1 on a count.
        seed: seed of the validation split, the order of the batches and their augmentation; None: that of
            `lightning.seed_everything`, or 0 if none was set.
        split_seed: seed of the validation split alone; None: `seed`.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        transforms: further augmentation of training images, such as `torchvision.transforms.v2.RandAugment`; see
            `ImageData`.
        drop_last: whether an incomplete last training batch is left out.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range.

    Examples:
        >>> data = Digits(image_size=16, batch_size=64)
        >>> data.setup("fit")
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape, data.num_classes
        (torch.Size([64, 1, 16, 16]), 10)
    """

    in_channels = 1

    def __init__(
        self,
        image_size: int = 28,
        batch_size: int = 128,
        val_size: int | float = 0.15,
        seed: int | None = None,
        shift: int = 0,
        drop_last: bool = False,
        eval_batch_size: int | None = None,
        split_seed: int | None = None,
        transforms: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            shift=shift,
            flip=False,
            drop_last=drop_last,
            eval_batch_size=eval_batch_size,
            split_seed=split_seed,
            transforms=transforms,
        )
        if image_size < 1:
            raise UserError(f"image_size must be at least 1 pixel, got {image_size}")
        self._side = image_size

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return (self._side, self._side)

    @property
    def class_names(self) -> list[str]:
        """The digits 0 to 9."""
        return [str(digit) for digit in range(10)]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the images outside the test set, where 1 is white."""
        return tuple(self._statistics[0])

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the images outside the test set, where 1 is white."""
        return tuple(self._statistics[1])

    def load(self, part: Literal["train", "test"]) -> Split:
        """Take the images of one part of the fixed split."""
        return Split.whole(self._parts[part])

    @cached_property
    def _parts(self) -> dict[str, ResidentImages]:
        originals, labels, rest, test = _originals()
        enlarged = F.interpolate(originals, size=self.image_size, mode="bilinear", align_corners=False)
        images = enlarged.round().to(torch.uint8)
        return {name: ResidentImages(images[i], labels[i]) for name, i in (("train", rest), ("test", test))}

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        return channel_statistics([self._parts["train"].images.numpy()], self.in_channels)


@cache
def _originals() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The digits as scikit-learn has them, from 0 to 255, their labels, and which are outside the test set and in it.

    They are the same tensors each time: nothing may be written into them.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    bunch = load_digits()
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    images = torch.from_numpy(bunch.images).to(torch.float32)[:, None] * (255 / 16)
    return images, labels, *stratified_split(labels, 360, seed=0)
