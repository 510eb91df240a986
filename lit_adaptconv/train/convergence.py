"""How fast a network learns: steps, epochs, FLOPs and seconds to each target."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.count import flops_of


@dataclass(frozen=True)
class Evaluation:
    """One evaluation during training: what had been spent, and what it showed.

    Attributes:
        step: Optimizer steps so far.
        epoch: Epochs so far, as a fraction.
        flops: Training FLOPs so far, forward and backward, or None where they are not known.
        seconds: Training seconds so far; evaluation and checkpoints are not counted.
        value: The monitored metric.
        train_value: The same metric in training, since the evaluation before, if the module logs it: `train/accuracy`.
        loss: Validation loss, if the module logs `val/loss`.
    """

    step: int
    epoch: float
    flops: int | None
    seconds: float
    value: float
    train_value: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class TargetReached:
    """The first evaluation that reached a target; every field but the target is None where none did."""

    target: float
    steps: int | None = None
    epochs: float | None = None
    flops: int | None = None
    seconds: float | None = None


def first_reached(curve: Sequence[Evaluation], target: float, mode: Literal["max", "min"] = "max") -> TargetReached:
    """Find the first evaluation at which the metric was at least (mode "min": at most) `target`."""
    for e in curve:
        if e.value >= target if mode == "max" else e.value <= target:
            return TargetReached(target, e.step, e.epoch, e.flops, e.seconds)
    return TargetReached(target)


class ConvergenceCallback(pl.Callback):
    """Records the learning curve of any module that logs the monitored metric, and when it reached each target.

    When a target is reached, it is logged at once, in the row of the evaluation, as `convergence/steps_to_<target>`,
    `.../epochs_to_<target>`, `.../flops_to_<target>` and `.../seconds_to_<target>`. Evaluate more often than once an
    epoch (`trainer.val_check_interval`) for a finer answer. FLOPs are known if the module has
    attributes `flops` and `training_flops`, those of a forward pass and of a training step of one sample, as
    `ImageClassifier` has, or an `example_input_array`. They are counted again where an epoch's start has frozen or
    freed parameters.

    Args:
        targets: Values of the metric to reach.
        monitor: Name of the metric.
        mode: "max" if more is better, "min" if less is.

    Examples:
        >>> convergence = ConvergenceCallback(targets=[0.5, 0.8], monitor="val/accuracy")
        >>> trainer = pl.Trainer(callbacks=[convergence], logger=False, enable_checkpointing=False)
        >>> [reached.steps for reached in convergence.reached]  # before a training
        [None, None]
    """

    def __init__(
        self,
        targets: Sequence[float] = (0.9, 0.95, 0.98, 0.99),
        monitor: str = "val/accuracy",
        mode: Literal["max", "min"] = "max",
    ) -> None:
        self.targets = tuple(targets)
        self.monitor = monitor
        self.mode: Literal["max", "min"] = mode
        self.curve: list[Evaluation] = []
        self.seconds = 0.0
        self.samples = 0
        self._started: float | None = None
        self.flops: int | None = 0
        self._per_sample: int | None = None
        self._trainable: tuple[bool, ...] | None = None

    @property
    def reached(self) -> list[TargetReached]:
        """What it took to reach each target."""
        return [first_reached(self.curve, target, self.mode) for target in self.targets]

    def _run_clock(self) -> None:
        if self._started is None:
            self._started = time.perf_counter()

    def _stop_clock(self, device: torch.device) -> None:
        """Stop it when the device has done what it was told, which on a GPU is later than that it was told."""
        if self._started is not None and device.type != "cpu":
            torch.accelerator.synchronize(device)
        self.seconds, self._started = self._seconds_so_far(), None

    def _seconds_so_far(self) -> float:
        return self.seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock: making the first batch is training."""
        self._started = None
        self._run_clock()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock again after an evaluation, and what other callbacks did at its end."""
        if batch_idx == 0:
            self._count_flops(pl_module)
        self._run_clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples of the batch, and the FLOPs of training on them."""
        first = batch[0] if isinstance(batch, (list, tuple)) else batch
        samples = (len(first) if isinstance(first, Tensor) else 1) * trainer.world_size
        self.samples += samples
        known = self.flops is not None and self._per_sample is not None
        self.flops = self.flops + samples * self._per_sample if known else None  # type: ignore[operator]

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: evaluation is not training."""
        self._stop_clock(pl_module.device)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the evaluation, and log the targets that it reached.

        Raises:
            UserError: The module has not logged the monitored metric.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = number(trainer.callback_metrics.get(self.monitor))
        if value is None:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise UserError(f"convergence.monitor is {self.monitor!r}, which is not logged; logged: {logged}")
        self._record(trainer, value)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the FLOPs of a training step, where that can be known."""
        self._trainable = None
        self._count_flops(pl_module)

    def _count_flops(self, module: pl.LightningModule) -> None:
        trainable = tuple(p.requires_grad for p in module.parameters())
        if trainable != self._trainable:
            counted = flops_of(module)
            self._per_sample, self._trainable = None if counted is None else counted.training, trainable

    def is_behind(self, trainer: pl.Trainer) -> bool:
        """Whether a batch was trained since the last evaluation, or there was none."""
        last = self.curve[-1] if self.curve else None
        return last is None or (last.step, last.epoch) != (trainer.global_step, _epochs(trainer))

    def _record(self, trainer: pl.Trainer, value: float) -> None:
        train = split_metric(self.monitor, "train")
        evaluation = Evaluation(
            step=trainer.global_step,
            epoch=_epochs(trainer),
            flops=self.flops,
            seconds=self.seconds,
            value=value,
            train_value=None if train == self.monitor else number(trainer.callback_metrics.get(train)),
            loss=number(trainer.callback_metrics.get("val/loss")),
        )
        before = {r.target for r in self.reached if r.steps is not None}
        self.curve.append(evaluation)
        for r in self.reached:
            if r.steps is not None and r.target not in before:
                measures = {k: v for k, v in asdict(r).items() if k != "target" and v is not None}
                for logger in trainer.loggers:
                    logger.log_metrics(
                        {f"convergence/{measure}_to_{r.target}": float(v) for measure, v in measures.items()},
                        step=max(0, trainer.global_step - 1),  # counted from 0: the row of the evaluation itself
                    )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: what follows is checkpointing."""
        self._stop_clock(pl_module.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve and the counters, for a checkpoint."""
        return {
            "curve": [asdict(e) for e in self.curve],
            "seconds": self._seconds_so_far(),
            "samples": self.samples,
            "flops": self.flops,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the curve of a checkpoint; FLOPs that an earlier version counted otherwise are not mixed in."""
        self.curve = [Evaluation(**renamed(e)) for e in state_dict["curve"]]
        self.flops = state_dict.get("flops", None if state_dict["samples"] else 0)
        if self.flops is None:
            self.curve = [replace(e, flops=None) for e in self.curve]
        self.seconds = state_dict["seconds"]
        self.samples = state_dict["samples"]


def _epochs(trainer: pl.Trainer) -> float:
    """Epochs trained so far, as a fraction."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return trainer.current_epoch + batches / max(1, trainer.num_training_batches)


def renamed(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation as an earlier version wrote it, under the names of this one."""
    return {"train_value" if name == "train_accuracy" else name: value for name, value in evaluation.items()}


def split_metric(monitor: str, split: str) -> str:
    """Name of a monitored metric in another split: `test/rmse` for `val/rmse`, `test_rmse` for `val_rmse`."""
    return re.sub(r"^val(id|idation)?(?=[/_])", split, monitor)


def number(metric: Tensor | float | None) -> float | None:
    """A float32 metric to seven digits: 95 of 100 must reach a target of 0.95, and float32's nearest is below it."""
    return None if metric is None else float(f"{float(metric):.7g}")
