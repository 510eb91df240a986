"""The progress bar of the command."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar, redrawn every ten batches and gone when it is done."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the metrics to show, without the loggers' version."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
