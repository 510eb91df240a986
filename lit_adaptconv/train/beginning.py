"""The beginning of a training: until each part has worked once, what goes wrong is a matter of the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.environment import usable_cores
from lit_adaptconv.train.convergence import ConvergenceCallback

MORE_PROCESSES = "LIT_ADAPTCONV_MORE_PROCESSES"
"""Environment variable that allows more processes than the CPU has cores."""

CLUSTERS = ("MASTER_ADDR", "SLURM_JOB_ID", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Environment variables of which one is set where processes on other machines find each other."""

LEAST = {
    "max_epochs": 1,
    "max_steps": 1,
    "log_every_n_steps": 1,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
}
"""Settings of Lightning's trainer that it does not check, or not in words that name them: name -> smallest value."""
WITHOUT_LIMIT = ("max_epochs", "max_steps")
"""Those of them that may be -1."""


class FirstSteps(pl.Callback):
    """Knows which parts of a training have worked once: a step, a batch of an evaluation, an epoch.

    Before the first step, in a first batch of the validation data, it checks that the metrics that others watch are
    logged.

    Attributes:
        doing: What is being done, or was when an exception came.
    """

    def __init__(self) -> None:
        self.doing = "the training cannot begin"
        self._around = self.doing
        self._done: set[str] = set()

    def were_done(self) -> bool:
        """Whether what is being done has worked before."""
        return self.doing in self._done

    def _begin(self, part: str) -> None:
        self.doing = self._around = part

    def _end(self, part: str) -> None:
        self._done.add(part)
        self.doing = self._around

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin an epoch, which ends the one before."""
        if self._around == "the first epoch":
            self._done.add(self._around)
        self._begin("the first epoch")

    def on_train_end(self, *_: Any) -> None:
        """End the last epoch."""
        self._end("the first epoch")

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin a step."""
        self.doing = "the first training step"

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """End a step, if this batch made one."""
        if trainer.global_step:
            self._end("the first training step")
        self.doing = self._around

    def on_validation_batch_start(self, *_: Any) -> None:
        """Begin a batch."""
        self.doing = "the first validation batch"

    def on_validation_batch_end(self, *_: Any) -> None:
        """End a batch."""
        self._end("the first validation batch")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check what others watch, before the first step.

        Raises:
            UserError: A metric of the validation that is watched is not logged.
        """
        if trainer.sanity_checking:
            check_monitors(trainer)

    def on_test_start(self, *_: Any) -> None:
        """Begin the test."""
        self._begin("the test")

    def on_test_batch_start(self, *_: Any) -> None:
        """Begin a batch."""
        self.doing = "the first test batch"

    def on_test_batch_end(self, *_: Any) -> None:
        """End a batch."""
        self._end("the first test batch")

    def on_test_end(self, *_: Any) -> None:
        """End the test."""
        self._end("the test")

    def on_predict_start(self, *_: Any) -> None:
        """Begin the prediction."""
        self._begin("the prediction")

    def on_predict_batch_start(self, *_: Any) -> None:
        """Begin a batch."""
        self.doing = "the first batch of the prediction"

    def on_predict_batch_end(self, *_: Any) -> None:
        """End a batch."""
        self._end("the first batch of the prediction")


def check_monitors(trainer: pl.Trainer) -> None:
    """Check, after some batches of the validation, that the validation's metrics that are watched are logged.

    What a training logs itself is not known yet; neither is anything where the module logs nothing so early.

    Raises:
        UserError: One is not logged.
    """
    watched = [(type(callback).__name__, getattr(callback, "monitor", None)) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    watched += [(type(config.scheduler).__name__, config.monitor) for config in trainer.lr_scheduler_configs]
    logged = sorted(trainer.callback_metrics)
    for name, monitor in watched if logged else ():
        if isinstance(monitor, str) and monitor.startswith("val") and monitor not in logged:
            option = "convergence.monitor" if name == ConvergenceCallback.__name__ else f"the monitor of {name}"
            raise UserError(f"{option} is {monitor!r}, which is not logged; logged: {', '.join(logged)}")


def check_trainer(trainer: Mapping[str, Any], stage: str = "fit") -> None:
    """Check settings of Lightning's trainer that it does not check, or not in words that name them.

    Args:
        trainer: The settings.
        stage: What they are for: fit, validate, test or predict.

    Raises:
        UserError: One is out of its range.
    """
    limit = {"fit": "train", "validate": "val"}.get(stage, stage)
    if trainer.get(f"limit_{limit}_batches") == 0:
        raise UserError(f"trainer.limit_{limit}_batches must be above 0: leave it out for all batches")
    if stage == "fit":
        for name, least in LEAST.items():
            value = trainer.get(name)
            unlimited = name in WITHOUT_LIMIT
            if value is not None and value < least and not (unlimited and value == -1):
                also = ", or -1 for no limit" if unlimited else ""
                raise UserError(f"trainer.{name} must be at least {least}{also}, got {value}")
        if trainer.get("val_check_interval") == 0:
            raise UserError("trainer.val_check_interval must be above 0: leave it out for every epoch")
        if trainer.get("barebones"):
            raise UserError("trainer.barebones turns off what a run is recorded with: leave it out")
    _check_processes(trainer)


def _check_processes(trainer: Mapping[str, Any]) -> None:
    """Check that other machines can be found, and that there are not more processes than cores where the CPU trains."""
    if (nodes := trainer.get("num_nodes") or 1) > 1 and not any(name in os.environ for name in CLUSTERS):
        raise UserError(
            f"trainer.num_nodes {nodes} waits for other machines, which can't find this one: start `adaptconv` on each "
            "with SLURM or torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK"
        )
    accelerator, devices = trainer.get("accelerator"), str(trainer.get("devices"))
    on_cpu = accelerator == "cpu" or (accelerator in (None, "auto") and not torch.accelerator.is_available())
    cores = usable_cores()
    if on_cpu and devices.isdecimal() and int(devices) > cores and not os.environ.get(MORE_PROCESSES):
        raise UserError(
            f"trainer.devices {devices} starts as many processes, and the CPU has {cores} "
            f"{'core' if cores == 1 else 'cores'}: give at most so many, or set {MORE_PROCESSES}=1"
        )
