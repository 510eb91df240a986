"""A member's training loop: Lightning's own, whose steps between two evaluations are taken together with the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer import call
from torch import Tensor

from lit_adaptconv.data.loader import BatchLoader, PlannedBatch
from lit_adaptconv.train.classifier import ImageClassifier

Ask = Callable[[Any], Any]


@dataclass(frozen=True)
class Steps:
    """A member asks for training steps.

    Attributes:
        trainer: Its trainer.
        module: What it trains.
        loader: What makes its batches.
        batches: The batches, one a step.
        sizes: Their numbers of images.
        logged: Numbers of the steps, from 0, whose losses are wanted; the last one always is.
    """

    trainer: pl.Trainer
    module: ImageClassifier
    loader: BatchLoader
    batches: list[PlannedBatch]
    sizes: list[int]
    logged: frozenset[int]


@dataclass(frozen=True)
class Taken:
    """The answer.

    Attributes:
        losses: The losses that are wanted, by the steps' numbers.
        last_loss: That of the last step, on the device.
        correct: Number of images that were classified right, on the device.
    """

    losses: dict[int, float]
    last_loss: Tensor
    correct: Tensor


@dataclass(frozen=True)
class Outputs:
    """A member asks for its network's output on all images of a loader; the answer is logits and labels."""

    trainer: pl.Trainer
    module: ImageClassifier
    loader: BatchLoader


class PlanningLoader:
    """A member's loader of training batches, which tells what they consist of and makes none.

    Args:
        loader: What makes them.
    """

    batch_sampler: None = None

    def __init__(self, loader: BatchLoader) -> None:
        self.loader = loader
        self.sampler = loader.sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[PlannedBatch]:
        self._batches = self.loader.planned()
        return self._batches

    def take(self, number: int) -> list[PlannedBatch]:
        """The next batches of the iteration that was begun last, past Lightning, which works on each."""
        return [*islice(self._batches, number)]

    def state_dict(self) -> dict[str, int]:
        """Return the loader's state."""
        return self.loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set the loader's state."""
        self.loader.load_state_dict(state_dict)


class OutputLoader:
    """A member's loader in evaluation: one batch of all its images, of which the network's output is known already.

    Args:
        loader: What makes the images.
        module: The member's module; while the batch is out, it passes what it is given.
        ask: Asks for the output.
    """

    batch_sampler: None = None

    def __init__(self, loader: BatchLoader, module: ImageClassifier, ask: Ask) -> None:
        self.loader = loader
        self.sampler = loader.sampler
        self._module = module
        self._ask = ask

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batch: tuple[Tensor, Tensor] = self._ask(Outputs(self._module.trainer, self._module, self.loader))
        self._module.forward = _given  # type: ignore[method-assign]
        try:
            yield batch
        finally:
            del self._module.forward


def _given(images: Tensor) -> Tensor:
    """What is the output already."""
    return images


class StackedEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, which asks for the steps up to the next evaluation at once.

    To callbacks those are one batch.

    Args:
        trainer: The member's trainer.
        before: The loop that the trainer has.
        ask: Asks for steps.
    """

    def __init__(self, trainer: pl.Trainer, before: _TrainingEpochLoop, ask: Ask) -> None:
        super().__init__(trainer, before.min_steps, before.max_steps)
        self._ask = ask

    def advance(self, data_fetcher: Any) -> None:
        """Train up to the next evaluation, or the end of the epoch.

        Raises:
            DivergedError: A loss is not finite.
        """
        if self.restarting and self._should_check_val_fx(data_fetcher):
            if self.val_loop.restarted_mid_evaluation:
                return
            if self.restarted_on_last:
                self._skip_next_val = True
                return
            self.val_loop.increment_progress_to_evaluation_end()
        self.val_loop.restarting = False

        trainer, number = self.trainer, self._steps_to_go()
        module: Any = trainer.lightning_module
        planning: PlanningLoader = trainer.train_dataloader
        batches = [next(data_fetcher)[0], *planning.take(number - 1)]
        data_fetcher.fetched += number - 1
        data_fetcher.done = data_fetcher.fetched >= data_fetcher.length
        sizes = [batch.indices.numel() for batch in batches]
        images = sum(sizes)
        batch = torch.empty(images, 0)  # all that callbacks are told of it
        first, begin = self.batch_idx + 1, self.global_step
        last = data_fetcher.done
        every = trainer.log_every_n_steps
        logged = [k for k in range(number) if (begin + k + 1) % every == 0 or (last and k == number - 1)]

        trainer._logger_connector.on_batch_start(batch)
        call._call_callback_hooks(trainer, "on_train_batch_start", batch, first)
        taken: Taken = self._ask(Steps(trainer, module, planning.loader, batches, sizes, frozenset(logged)))
        stepped, counted = self._batches_that_stepped, 0
        for step in logged:
            loss = taken.losses[step]
            self._count(step - counted)
            self._batches_that_stepped = stepped + step
            self._count_last(math.isfinite(loss))
            counted = step + 1
            module.take_loss(loss)
            if trainer._logger_connector.should_update_logs:
                trainer._logger_connector.log_metrics({"train/loss": loss})
        self._count(number - counted)
        self._batches_that_stepped = stepped + number - 1  # the last is counted after the evaluation
        self.batch_progress.is_last_batch = last
        module.take_steps(taken.last_loss, taken.correct, images, number)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        call._call_callback_hooks(trainer, "on_train_batch_end", None, batch, self.batch_idx)
        trainer._logger_connector.on_batch_end()

    def _steps_to_go(self) -> int:
        """Steps up to the next evaluation, the end of the epoch or that of the training."""
        trainer, done = self.trainer, self.batch_idx + 1
        number = int(trainer.num_training_batches) - done
        if self.max_steps != -1:
            number = min(number, self.max_steps - self.global_step)
        every = trainer.val_check_batch
        if self._should_check_val_epoch() and every is not None and every != float("inf"):
            so_far = done if trainer.check_val_every_n_epoch is not None else self.total_batch_idx + 1
            number = min(number, int(every) - so_far % int(every))
        return number

    def _count(self, steps: int) -> None:
        """Count so many steps as Lightning does."""
        progress = self.automatic_optimization.optim_progress.optimizer
        for each in (self.batch_progress, progress.step, progress.zero_grad):
            each.increment_by(steps)
        schedules = [config for config in self.trainer.lr_scheduler_configs if config.interval == "step"]
        self.scheduler_progress.increment_by(steps * len(schedules))

    def _count_last(self, finished: bool) -> None:
        """Count a step; one whose loss is not finite has been begun, not finished."""
        if finished:
            self._count(1)
            return
        self.batch_progress.increment_ready()
        self.batch_progress.increment_started()
        self.automatic_optimization.optim_progress.optimizer.step.increment_ready()
