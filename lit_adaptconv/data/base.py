"""What every image data module offers: splits, loaders and the numbers a network is built from."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lit_adaptconv.data.augment import Transforms
from lit_adaptconv.data.loader import BatchLoader
from lit_adaptconv.data.order import BatchOrder
from lit_adaptconv.data.preprocess import Preprocess
from lit_adaptconv.data.source import Split
from lit_adaptconv.data.split import stratified_split
from lit_adaptconv.errors import UserError


class ImageData(LightningDataModule, ABC):
    """Labelled images; whole batches are made on the device, without worker processes.

    The validation images are held out of the training images, stratified by class and drawn from the seed. The test
    images are used only by `test` and `predict`.

    Args:
        batch_size: images per training batch and process.
        val_size: images held out for validation: below 1 a fraction of the training images, from 1 on a count.
        seed: seed of the validation split, the order of the batches and their augmentation; None: that of
            `lightning.seed_everything`, or 0 if none was set.
        split_seed: seed of the validation split alone; None: `seed`.
        shift: the largest random translation of a training image in pixels, the same in both directions; uncovered
            pixels are black.
        flip: whether a training image is mirrored left to right half of the time.
        transforms: further augmentation of training images, after `shift` and `flip`, drawn from (seed, epoch)
            alone. Transforms of `torchvision.transforms.v2`, or modules of your own, get one image at a time as uint8
            pixels and return the same kind. After these, `RandomErasing` erases from normalised images. Last, `MixUp`
            and `CutMix` mix whole batches; labels become probabilities. For shifts and mirroring, `shift` and `flip`
            are cheapest.
        drop_last: whether an incomplete last training batch is left out. A batch of a single image always is, because
            BatchNorm cannot normalise it; it is another image in every epoch.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        val_size: float,
        seed: int | None,
        shift: int,
        flip: bool,
        drop_last: bool,
        eval_batch_size: int | None,
        split_seed: int | None = None,
        transforms: list[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        if eval_batch_size is not None and eval_batch_size < 1:
            raise UserError(f"eval_batch_size must be at least 1, got {eval_batch_size}")
        if val_size <= 0 or (val_size > 1 and val_size != int(val_size)):
            raise UserError(f"val_size must be a fraction between 0 and 1 or a count of images, got {val_size}")
        for name, value in (("seed", seed), ("split_seed", split_seed)):
            if value is not None and value < 0:
                raise UserError(f"{name} must be at least 0, got {value}")
        if shift < 0:
            raise UserError(f"shift must be at least 0 pixels, got {shift}")
        self.batch_size = batch_size
        self.val_size = val_size
        self.seed = seed
        self.split_seed = split_seed
        self.shift = shift
        self.flip = flip
        self.transforms = list(transforms or [])
        self.drop_last = drop_last
        self.eval_batch_size = eval_batch_size
        self._pool: Split | None = None  # training and validation images
        self._train: Split | None = None
        self._val: Split | None = None
        self._test: Split | None = None

    @property
    @abstractmethod
    def in_channels(self) -> int:
        """Channels of an image."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """What the labels 0, 1, 2 … stand for."""

    @property
    @abstractmethod
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, where 1 is white."""

    @property
    @abstractmethod
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel, where 1 is white."""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def predict_names(self) -> list[str]:
        """The index of every image that `predict_dataloader` yields, in order, as text; after `setup`."""
        return [str(index) for index in range(len(self._ready(self._test).indices))]

    @abstractmethod
    def load(self, part: Literal["train", "test"]) -> Split:
        """Read the images to train and validate with, or those to test with."""

    def hold_out(self, pool: Split) -> tuple[Split, Split]:
        """Part the images to train and validate with into those to train with and those to validate with."""
        seed = self.resolved_seed if self.split_seed is None else self.split_seed
        kept, held = stratified_split(pool.labels, self.val_size, seed)
        return Split(pool.source, pool.indices[kept]), Split(pool.source, pool.indices[held])

    def share(self, other: ImageData) -> None:
        """Take the images that another module with the same arguments has read; the split stays this one's own."""
        mine, its = vars(self), vars(other)
        read = {name for each in type(self).__mro__ for name, value in vars(each).items() if _is_cached(value)}
        mine.update({name: its[name] for name in read & its.keys()})
        self._pool, self._test = self._pool or other._pool, self._test or other._test

    def setup(self, stage: str | None = None) -> None:
        """Read what `stage` (fit, validate, test or predict; None: everything) needs, and split it.

        Raises:
            UserError: `shift` could move an image out of sight, `transforms` stand in an order that can't be, or the
                images can't be read or split.
        """
        if self.shift >= min(self.image_size):
            height, width = self.image_size
            raise UserError(f"shift must be smaller than the images, {height}×{width} pixels, got {self.shift}")
        if self.transforms:
            Transforms(self.transforms, self.num_classes)
        if stage in (None, "fit", "validate"):
            self._pool = self._pool or self.load("train")
            self._train, self._val = self.hold_out(self._pool)
        if stage in (None, "test", "predict"):
            self._test = self._test or self.load("test")

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training images, in another order every epoch."""
        return self._loader(self._train, training=True)

    def calibration_dataloader(self, images: int) -> BatchLoader:
        """Batches of so many training images, spread evenly over all of them and not augmented."""
        split = self._ready(self._train)
        chosen = torch.linspace(0, len(split.indices) - 1, min(images, len(split.indices))).round().long()
        return self._loader(Split(split.source, split.indices[chosen]))

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation images."""
        return self._loader(self._val)

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test images."""
        return self._loader(self._test)

    def predict_dataloader(self) -> BatchLoader:
        """Batches of the test images, in the order of `predict_names`."""
        return self._loader(self._test)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the loaders' batches as they are: they were made there."""
        if isinstance(batch, tuple) and all(isinstance(part, Tensor) and part.device == device for part in batch):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    @property
    def resolved_seed(self) -> int:
        """The seed that is used: the argument, else that of `lightning.seed_everything`, else 0."""
        return int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed

    def _ready(self, split: Split | None) -> Split:
        if split is None:
            raise RuntimeError(f"call setup() of {type(self).__name__} for this stage first")
        return split

    def _loader(self, split: Split | None, training: bool = False) -> BatchLoader:
        split = self._ready(split)
        trainer = self.trainer
        device = torch.device("cpu") if trainer is None else trainer.strategy.root_device
        order = BatchOrder(
            length=len(split.indices),
            batch_size=self.batch_size if training or self.eval_batch_size is None else self.eval_batch_size,
            seed=self.resolved_seed,
            # Trainer(overfit_batches=...) asks for the same batches in every epoch
            shuffle=training and not getattr(trainer, "overfit_batches", 0),
            drop_last=self.drop_last,
            rank=0 if trainer is None else trainer.global_rank,
            world_size=1 if trainer is None else trainer.world_size,
        )
        transforms = Transforms(self.transforms, self.num_classes) if training and self.transforms else None
        preprocess = Preprocess(self.mean, self.std, self.shift, self.flip, device, transforms)
        return BatchLoader(split.source, split.indices, order, preprocess, device)


def _is_cached(value: object) -> bool:
    return isinstance(value, cached_property)
