"""A LightningModule, a data module and a convolution as someone else would write them: nothing of this package."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor]


class Blobs(pl.LightningDataModule):
    """Noise, and where it is above zero."""

    def __init__(self, samples: int = 64, batch_size: int = 16) -> None:
        super().__init__()
        self.samples, self.batch_size = samples, batch_size

    def loader(self, seed: int) -> DataLoader[tuple[Tensor, ...]]:
        images = torch.randn(self.samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(images, (images > 0).float()), batch_size=self.batch_size)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader(0)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader(1)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader(2)

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader(2)


class Unvalidated(Blobs):
    """Data to train with alone."""

    val_dataloader = pl.LightningDataModule.val_dataloader


class Segmenter(pl.LightningModule):
    """Says of each pixel whether it is above zero."""

    def __init__(self, hidden: int = 4, lr: float = 0.05) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Conv2d(1, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 1, 1))
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.net(images)
        return out

    def share(self, batch: Batch, stage: str) -> Tensor:
        images, masks = batch
        out = self(images)
        loss = nn.functional.binary_cross_entropy_with_logits(out, masks)
        self.log(f"{stage}/loss", loss)
        self.log(f"{stage}/share", ((out > 0) == (masks > 0)).float().mean())
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.share(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.share(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.share(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        above: Tensor = (self(batch[0]) > 0).float().mean(dim=(1, 2, 3))
        return above

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)


class Untrainable(Segmenter):
    """Fails in its first step."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        raise IndexError("no such pixel")


class NoModule:
    """Neither a module nor data."""
