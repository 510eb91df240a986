"""A LightningModule and its data as anyone writes them: they know nothing of lit-adaptconv.

Where in a noisy image is the shape? Each image holds a disc or a square; the module says of every pixel whether it
belongs to it, and is judged by the intersection over union.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryJaccardIndex

Batch = tuple[Tensor, Tensor]


class Segmenter(pl.LightningModule):
    """A small convolutional network that gives each pixel a logit.

    Args:
        channels: Channels of its layers.
        lr: Learning rate of Adam.
    """

    def __init__(self, channels: int = 8, lr: float = 0.01) -> None:
        super().__init__()
        self.lr = lr
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(channels, 1, 1)
        self.val_iou, self.test_iou = BinaryJaccardIndex(), BinaryJaccardIndex()
        self.example_input_array = torch.zeros(1, 1, 16, 16)  # by which FLOPs are counted

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, 1, H, W)` to logits of the same shape."""
        logits: Tensor = self.head(self.body(self.stem(images)))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        images, masks = batch
        return F.binary_cross_entropy_with_logits(self(images), masks)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch."""
        images, masks = batch
        logits = self(images)
        self.val_iou.update(logits, masks.int())
        self.log("val/loss", F.binary_cross_entropy_with_logits(logits, masks))
        self.log("val/iou", self.val_iou)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch of the test set."""
        images, masks = batch
        self.test_iou.update(self(images), masks.int())
        self.log("test/iou", self.test_iou)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr)


class Shapes(pl.LightningDataModule):
    """Images `(1, 16, 16)` of a disc or a square in noise, and masks of the same shape.

    Args:
        images: Number of images to train with; half as many to validate and to test with.
        batch_size: Images in a batch.
        noise: Standard deviation of the noise; the shape has brightness 1.
    """

    def __init__(self, images: int = 256, batch_size: int = 32, noise: float = 1.0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.sets = [_draw(n, noise, seed) for seed, n in enumerate((images, images // 2, images // 2))]

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """The training images, shuffled."""
        return DataLoader(self.sets[0], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """The validation images."""
        return DataLoader(self.sets[1], self.batch_size)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """The test images."""
        return DataLoader(self.sets[2], self.batch_size)


def _draw(images: int, noise: float, seed: int, side: int = 16) -> TensorDataset:
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centres = torch.randint(4, side - 4, (images, 2, 1, 1), generator=random)
    radii = torch.randint(2, 5, (images, 1, 1), generator=random)
    across, down = (x - centres[:, 0]).abs(), (y - centres[:, 1]).abs()
    round_ones = torch.rand(images, 1, 1, generator=random) < 0.5
    masks = torch.where(round_ones, across**2 + down**2 <= radii**2, torch.maximum(across, down) <= radii)
    masks = masks[:, None].float()
    return TensorDataset(masks + noise * torch.randn(masks.shape, generator=random), masks)
