"""The callback that keeps a run's folder: `metrics.csv` and `result.json`, at every evaluation and at the end."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_adaptconv.errors import DivergedError
from lit_adaptconv.measure.environment import device_name, git_commit, versions
from lit_adaptconv.train.convergence import ConvergenceCallback, number
from lit_adaptconv.train.metrics_csv import MetricsCSV
from lit_adaptconv.train.result import RunResult


class RunRecorder(pl.Callback):
    """Fills in a run's result and writes its files; the rows of `metrics.csv` travel in the checkpoint.

    Args:
        result: The result so far: name, id and whatever is known before training.
        folder: The run's folder.
        convergence: Where the learning curve is recorded.
        metrics: The logger of the run's metrics.
    """

    def __init__(self, result: RunResult, folder: Path, convergence: ConvergenceCallback, metrics: MetricsCSV) -> None:
        self.result = result
        self.folder = folder
        self.convergence = convergence
        self.metrics = metrics

    def _write(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            self.result.write(self.folder / "result.json")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write down what runs, where, and that it runs."""
        self.result.status = "running"
        self.result.started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.result.device = device_name(trainer.strategy.root_device)
        self.result.threads = torch.get_num_threads()
        self.result.versions = versions()
        self.result.git_commit = git_commit()
        self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the files up to date."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._take_curve(trainer)
        self._write(trainer)
        self.metrics.write()

    def _take_curve(self, trainer: pl.Trainer) -> None:
        self.result.curve = list(self.convergence.curve)
        self.result.convergence = self.convergence.reached
        self.result.training_seconds = self.convergence.seconds
        self.result.steps = trainer.global_step
        accuracies = [number(row["val/accuracy"]) for row in self.metrics.rows if "val/accuracy" in row]
        if accuracies:
            self.result.val_accuracy = accuracies[-1]
            self.result.best_val_accuracy = max(a for a in accuracies if a is not None)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the finished training's figures; the run still runs until `finish`."""
        self._take_curve(trainer)
        self.result.epochs = trainer.current_epoch
        self._write(trainer)

    def finish(self, trainer: pl.Trainer) -> None:
        """Write the result of a run that ended well."""
        self.result.status = "done"
        self._write(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the test figures."""
        metrics = trainer.callback_metrics
        self.result.test_accuracy = number(metrics.get("test/accuracy"))
        self.result.test_loss = number(metrics.get("test/loss"))
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write down why the run ended early, in training or in the test that follows it."""
        self._take_curve(trainer)
        if isinstance(exception, (KeyboardInterrupt, SIGTERMException)):
            by = "the user" if isinstance(exception, KeyboardInterrupt) else "the signal SIGTERM"
            self.result.status, self.result.reason = "interrupted", f"interrupted by {by}"
        else:
            self.result.status = "diverged" if isinstance(exception, DivergedError) else "failed"
            self.result.reason = f"{type(exception).__name__}: {exception}".splitlines()[0]
        self._write(trainer)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.finish(exit_code=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows of `metrics.csv`."""
        return {"rows": self.metrics.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the rows of the checkpoint."""
        self.metrics.rows = [dict(row) for row in state_dict["rows"]]
