"""The progress bar of the command."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar

REDRAW_SECONDS = 0.1


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar, redrawn ten times a second at most and gone when it is done."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=False)
        self._drawn = 0.0

    def refresh(self, hard: bool = False) -> None:
        """Draw it, unless that was just done: Lightning asks after every batch."""
        if (now := time.monotonic()) - self._drawn >= REDRAW_SECONDS or hard:
            super().refresh(hard)
            self._drawn = now

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the metrics to show, without the loggers' version."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
