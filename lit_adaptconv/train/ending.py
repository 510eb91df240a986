"""The ending of a training: whatever the trainer's settings, the last network is evaluated."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging

from lit_adaptconv.train.convergence import ConvergenceCallback
from lit_adaptconv.train.resume import RandomStateCallback


class EvaluatingTrainer(pl.Trainer):
    """Lightning's trainer, whose training ends with an evaluation, unless validation is switched off.

    It comes after the last step, where the last evaluation was earlier: an interval that does not divide the epoch,
    epochs without an evaluation, `max_steps` or `max_time` within an epoch. A run that goes on from a checkpoint of
    its last step evaluates too. The checkpoint of the last epoch is written before, as if the training went on.

    Where a callback averages the weights, the finished network has the average, also if the run went on from a
    checkpoint of its last step.
    """

    def _run_stage(self) -> Any:
        results = super()._run_stage()
        callbacks: list[pl.Callback] = self.callbacks  # type: ignore[attr-defined]
        for each in callbacks if self.training else ():
            if isinstance(each, WeightAveraging):  # Lightning's loop does so only where it has trained
                each.on_train_end(self, self.lightning_module)
        if self.training and self.enable_validation:
            progress: Any = self.fit_loop.epoch_progress.current
            progress.completed = max(0, progress.processed - 1)  # as at the end of the last epoch
            if any(isinstance(each, ConvergenceCallback) and each.is_behind(self) for each in callbacks):
                for each in callbacks:
                    if isinstance(each, RandomStateCallback):
                        each.restore(self)
                self._evaluate()
            progress.completed = progress.processed
        return results

    def _evaluate(self) -> None:
        """Evaluate as Lightning does in a training: callbacks see an evaluation like any other."""
        epochs = self.fit_loop.epoch_loop
        epochs.val_loop.restarting = False  # what a checkpoint may have told it
        epochs._batches_that_stepped -= 1  # loggers count steps from 0: the row of the last one
        self.validating = True
        epochs.val_loop.run()
        self.training = True
        epochs._batches_that_stepped += 1
