"""The callback that keeps a run's folder: `metrics.csv` and `result.json`, at every evaluation and at the end."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_adaptconv.errors import DivergedError
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.measure.count import count_bytes, count_parameters, flops_of
from lit_adaptconv.measure.environment import device_name, git_commit, versions
from lit_adaptconv.train.convergence import ConvergenceCallback, number, split_metric
from lit_adaptconv.train.convert_callback import ConvertConvolutions
from lit_adaptconv.train.metrics_csv import MetricsCSV
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.tested import BitCollector


class RunRecorder(pl.Callback):
    """Fills in a run's result and writes its files; the rows of `metrics.csv` travel in the checkpoint.

    Args:
        result: The result so far: name, id and whatever is known before training. Its test metric is that of the
            monitored one's name, `test/rmse` for `val/rmse`, unless it names another than `test/accuracy`.
        folder: The run's folder.
        convergence: Where the learning curve is recorded.
        metrics: The logger of the run's metrics.
        test_metric: The metric of the test that the result shows; None takes it from the result or the monitor.

    Attributes:
        begun: Whether a step was trained, or the training has ended well without one.
        at_first_step: Is called then, in the first process.
    """

    def __init__(
        self,
        result: RunResult,
        folder: Path,
        convergence: ConvergenceCallback,
        metrics: MetricsCSV,
        test_metric: str | None = None,
    ) -> None:
        self.result = result
        self.folder = folder
        self.convergence = convergence
        self.metrics = metrics
        self.begun = False
        self.at_first_step: Callable[[], None] = lambda: None
        result.monitor, result.mode = convergence.monitor, convergence.mode
        if test_metric is not None:
            result.test_metric = test_metric
        elif result.test_metric == RunResult.test_metric:
            result.test_metric = split_metric(convergence.monitor, "test")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Step behind the convergence callback: its curve has each evaluation before that is written down."""
        self.result.model = type(pl_module).__name__
        others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
        place = others.index(self.convergence) + 1
        trainer.callbacks = [*others[:place], self, *others[place:]]  # type: ignore[attr-defined]

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
        self.result.parameters, flops = count_parameters(pl_module), flops_of(pl_module)
        self.result.weight_bytes = count_bytes(pl_module)
        if self.result.limits is not None:
            self.result.file_bytes = Budget.of(self.result.limits).file_bytes(pl_module)
        self.result.flops = None if flops is None else flops.forward
        self.result.training_flops_per_sample = None if flops is None else flops.training
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ConvertConvolutions):
                self.result.kind, self.result.kind_options = callback.kind, dict(callback.kind_options or {})
            if isinstance(callback, WeightAveraging):
                self.result.averaging = type(callback).__name__
        self._take_curve(trainer)
        self._write(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Know that the training has begun."""
        if not self.begun:
            if trainer.is_global_zero:
                self.at_first_step()
            self.begun = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the files up to date."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._take_curve(trainer)
        self._write(trainer)
        self.metrics.write()

    def _take_curve(self, trainer: pl.Trainer) -> None:
        curve = self.result.curve = list(self.convergence.curve)
        self.result.convergence = self.convergence.reached
        self.result.training_seconds = self.convergence.seconds
        self.result.steps = max(trainer.global_step, self.result.steps)  # Lightning's is 0 until a resumed run goes on
        if curve:
            self.result.val_value = curve[-1].value
            best = max if self.result.mode == "max" else min
            self.result.best_val_value = best((e.value for e in curve if math.isfinite(e.value)), default=None)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the finished training's figures; the run still runs until `finish`."""
        self.on_train_batch_end(trainer)
        self._take_curve(trainer)
        self.result.epochs = trainer.current_epoch
        self._write(trainer)

    def finish(self, trainer: pl.Trainer) -> None:
        """Write the result of a run that ended well."""
        self.result.status = "done"
        self._write(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add what the test logged."""
        metrics = {name: number(value) for name, value in trainer.callback_metrics.items()}
        self.result.test_metrics = {name: value for name, value in metrics.items() if value is not None}
        self.result.test_value = metrics.get(self.result.test_metric)
        tested = getattr(pl_module, "tested", None)
        self.result.test_images = tested.images(trainer) if isinstance(tested, BitCollector) else None
        if self.result.test_value is None:
            logged = ", ".join(sorted(metrics)) or "nothing"
            self.result.reason = f"the test has not logged {self.result.test_metric!r}; logged: {logged}"
            warnings.warn(self.result.reason, stacklevel=2)
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
        with contextlib.suppress(OSError):  # of a full disk, perhaps; it must not hide what came first
            self._write(trainer)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.finish(exit_code=1)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Know the steps of the run that continues."""
        self.result.steps = checkpoint["global_step"]

    def state_dict(self) -> dict[str, Any]:
        """Return the rows of `metrics.csv`."""
        return {"rows": self.metrics.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the rows of the checkpoint."""
        self.metrics.rows = [dict(row) for row in state_dict["rows"]]
