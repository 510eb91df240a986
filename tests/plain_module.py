"""A LightningModule and its data as people write them, which know nothing of this package."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Batch = list[Tensor]


class Plain(pl.LightningModule):
    """A module as people write it; its network is made in `__init__`, in `setup` or in `configure_model`."""

    def __init__(self, made_in: str = "__init__") -> None:
        super().__init__()
        self.made_in = made_in
        self.net: nn.Module | None = None
        self._make("__init__")

    def _make(self, hook: str) -> None:
        if hook == self.made_in and self.net is None:
            self.net = nn.Sequential(
                nn.Conv2d(1, 4, 3),
                nn.ReLU(),
                nn.Conv2d(4, 4, 3, stride=2),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(4, 3),
            )

    def setup(self, stage: str) -> None:
        self._make("setup")

    def configure_model(self) -> None:
        self._make("configure_model")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert self.net is not None
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert self.net is not None
        self.log("accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Data(pl.LightningDataModule):
    """Images whose class is how bright they are."""

    def __init__(self, size: int = 10) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(48) % 3
        images = torch.randn(48, 1, size, size, generator=generator) + labels[:, None, None, None]
        self.images = TensorDataset(images, labels)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.images, 16)

    val_dataloader = test_dataloader = train_dataloader
