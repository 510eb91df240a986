"""The LightningModule: trains any backbone with any conv kind to classify images."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lit_adaptconv.errors import DivergedError, UserError, told_in_one_line
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.measure.count import Flops, count_flops, count_parameters
from lit_adaptconv.models.backbones import LeNet5
from lit_adaptconv.models.network import ConvertOptions, build_network
from lit_adaptconv.models.placement import AdaptiveIn, BackboneCallable
from lit_adaptconv.models.placement import freeze as freeze_parts
from lit_adaptconv.train.compatibility import check_compatible, stack_kernels
from lit_adaptconv.train.schedules import OneCycle
from lit_adaptconv.train.teacher import Teacher, load_teacher
from lit_adaptconv.train.tested import BitCollector
from lit_adaptconv.train.weight_decay import DecayOn, with_groups

SchedulerCallable = Callable[[Optimizer], LRScheduler]
Batch = tuple[Tensor, Tensor]
Loss = Literal["cross_entropy", "binary_cross_entropy"]
THERE = 0.2
"""Share of a mixed image above which its class counts as there, as in the published settings of Wightman et al."""


@dataclass
class _Trained:
    """Batches that the training accuracy does not know yet, counted on the device with few operations a step."""

    correct: Tensor | None = None
    samples: int = 0
    batches: int = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        correct = (logits.argmax(1) == (labels.argmax(1) if labels.ndim == 2 else labels)).sum()
        self.count(correct, len(labels), 1)

    def count(self, correct: Tensor, samples: int, batches: int) -> None:
        self.correct = correct if self.correct is None else self.correct + correct
        self.samples += samples
        self.batches += batches


class ImageClassifier(pl.LightningModule):
    """Image classifier: a backbone, built with one conv kind, trained with cross-entropy.

    It logs `train/loss` at every logging step and, at every evaluation, `val/loss`, `val/accuracy` and
    `train/accuracy` (over the batches trained since the evaluation before).

    Args:
        backbone: The network; one of `lit_adaptconv.models`, a `Backbone` of your own, or any module that maps
            images to logits, such as one of torchvision or timm.
        kind: The convolution that the backbone is built with: a name that `adaptconv kinds` lists, or the dotted path
            of a class or function with `nn.Conv2d`'s arguments.
        kind_options: Further arguments of that convolution, such as `rank`.
        width: A factor on the backbone's usual widths, or the width of every layer.
        budget: Largest number of trainable parameters, or a `Budget` that also limits FLOPs or bytes. The widest
            network within it is built, and `width` stays 1.
        convert: Convolutions of the network to swap for another kind; for modules that are not a `Backbone`.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer; None keeps the rate. A scheduler with an
            argument `total_steps` gets the length of the training and steps every batch; others step every epoch.
        label_smoothing: Share of the target probability that is spread over all classes.
        loss: What training minimises: "cross_entropy", or "binary_cross_entropy" of each class by itself, where a class
            counts as there if it has more than a fifth of a mixed image (Wightman et al., 2021,
            https://arxiv.org/abs/2110.00476). Evaluation tells the cross-entropy.
        weight_decay_on: What the optimizer's weight decay acts on. "weights" are those that multiply an input, without
            biases (also of gates and generators) and scales of normalisation. "static" are the same without those of
            generators and gates. "all" are all parameters. A run that is continued keeps its setting, and an optimizer
            that takes no groups of parameters decays all.
        compile: Whether `torch.compile` compiles the network; checkpoints are the same with and without.
        adaptive_in: Which places of a backbone use the kind: "all" of them, the "first", the "last", or those with some
            names, as in `named_modules` ("layer1" and "*.conv2" mean all that match). Elsewhere there are standard
            convolutions.
        freeze: Parts of the network that keep the weights they start with: a pattern on their names, or several. A
            budget counts their parameters, the number of trainable parameters does not.
        channels_last: Whether images and weights are laid out with their channels last, which is faster on tensor
            cores; checkpoints are the same with and without.
        teacher: A trained network to learn from: the folder of a run of `adaptconv fit`, or a checkpoint in it. It must
            have been trained on the same data, because its normalisation of images is not undone. It is read when
            training starts; parameters, FLOPs and checkpoints are those of the student alone.
        teacher_weight: Share of the loss that compares with the teacher's probabilities; the rest compares with labels.
        teacher_temperature: What both logits are divided by for that (Hinton et al., 2015,
            https://arxiv.org/abs/1503.02531).
        in_channels: Channels of the images; the command takes this and the next two from the data.
        num_classes: Number of classes.
        image_size: Height and width of the images.

    Raises:
        UserError: Unknown kind, option or part, a budget that no width meets, images that are too small, or both a
            width and a budget, a label smoothing or a weight of the teacher that is no share, a temperature that is
            not above 0, or a weight decay on something else.

    Examples:
        >>> module = ImageClassifier(kind="adaptive_low_rank", budget=5000)
        >>> module(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        backbone: BackboneCallable | nn.Module = LeNet5,
        kind: str = "standard",
        kind_options: dict[str, Any] | None = None,
        width: float | list[int] = 1.0,
        budget: int | Budget | None = None,
        convert: ConvertOptions | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=0.003),
        scheduler: SchedulerCallable | None = OneCycle,
        label_smoothing: float = 0.0,
        weight_decay_on: DecayOn = "weights",
        compile: bool = False,
        adaptive_in: AdaptiveIn = "all",
        freeze: list[str] | str | None = None,
        channels_last: bool = False,
        teacher: str | None = None,
        teacher_weight: float = 0.5,
        teacher_temperature: float = 4.0,
        loss: Loss = "cross_entropy",
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise UserError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
        if loss not in get_args(Loss):
            raise UserError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}")
        if loss != "cross_entropy" and label_smoothing:
            raise UserError("label_smoothing is of cross_entropy: leave it or binary_cross_entropy out")
        if not 0 <= teacher_weight <= 1:
            raise UserError(f"teacher_weight must be between 0 and 1, got {teacher_weight}")
        if not 0 < teacher_temperature < math.inf:
            raise UserError(f"teacher_temperature must be above 0, got {teacher_temperature}")
        if weight_decay_on not in get_args(DecayOn):
            raise UserError(f"weight_decay_on must be one of {', '.join(get_args(DecayOn))}, got {weight_decay_on!r}")
        modules = ["backbone"] if isinstance(backbone, nn.Module) else []
        self.save_hyperparameters(logger=False, ignore=["convert", *modules])
        if budget is not None:
            budget = Budget.of(budget)
            self.hparams["budget"] = budget.plain
        for name in [name for name, value in self.hparams.items() if callable(value)]:
            del self.hparams[name]  # a safe reader of checkpoints accepts plain values only
        self.image_shape = (in_channels, *image_size)
        self.network = build_network(
            backbone, kind, kind_options, width, budget, convert, self.image_shape, num_classes, adaptive_in
        )
        if freeze is not None:
            freeze_parts(self.network, freeze)
        self.kind = convert.kind if convert else kind
        self.kind_options = dict((convert.kind_options if convert else kind_options) or {})
        given = convert.budget if convert and budget is None else budget
        self.budget = None if given is None else Budget.of(given).plain
        self.widths: tuple[int, ...] = getattr(self.network, "widths", ())
        self.num_classes = num_classes
        self.parameter_count = count_parameters(self.network)
        self._counted = self._countable, count_flops(self.network, self.image_shape)
        self.channels_last = channels_last
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        if compile:
            self.network.compile()  # in place: the names of its parameters stay
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._last_loss: Tensor | None = None
        self._trained = _Trained()
        self._scheduled: tuple[float, float | None] | None = None
        self._divided: bool | None = None
        self.weight_decay_on = weight_decay_on
        self.label_smoothing = label_smoothing
        self.loss = loss
        self._teacher_path, self.teacher_weight, self.teacher_temperature = teacher, teacher_weight, teacher_temperature
        self.teacher: Teacher | None = None
        self._taught_by: int | None = None
        self.train_accuracy, self.val_accuracy, self.test_accuracy = (
            MulticlassAccuracy(num_classes, average="micro", validate_args=False) for _ in range(3)
        )
        self.tested = BitCollector()
        # Over all images of all processes; what Lightning itself makes of a plain number is rounded there.
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))

    @property
    def flops(self) -> int:
        """FLOPs of a forward pass of one image."""
        return self._flops.forward

    @property
    def training_flops(self) -> int:
        """FLOPs of a training step of one image; what is frozen costs less."""
        return self._flops.training

    @property
    def _flops(self) -> Flops:
        if self._counted[0] != self._countable:  # layers were converted or frozen
            self._counted = self._countable, count_flops(self.network, self.image_shape)
        return self._counted[1]

    @property
    def _countable(self) -> list[bool]:
        return [p.requires_grad for p in self.network.parameters()]

    @property
    def lr(self) -> float:
        """The optimizer's learning rate, which Lightning's finder of learning rates sets.

        Raises:
            AttributeError: The optimizer was given as a function that does not tell its rate.
        """
        rate = getattr(self.optimizer, "keywords", {}).get("lr")
        if rate is None:
            raise AttributeError("this optimizer does not tell its learning rate: give it as a partial with lr=…")
        return float(rate)

    @lr.setter
    def lr(self, rate: float) -> None:
        self.optimizer = partial(self.optimizer, lr=rate)  # type: ignore[call-arg]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute: Lightning sets the hook at work fifty times a step, for which PyTorch's way is slow."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)`, normalised as the data module does, to logits `(N, num_classes)`."""
        logits: Tensor = self.network(self._laid_out(images))
        return logits

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch.

        Labels are class indices `(N,)`, or probabilities `(N, num_classes)`, of which the training accuracy takes the
        largest.
        """
        images, labels = batch
        logits = self._logits(images)
        loss = self._training_loss(logits, labels)
        if self.teacher is not None:
            taught = self.teacher.loss(self._laid_out(images), logits)
            loss = (1 - self.teacher_weight) * loss + self.teacher_weight * taught
        self._trained.add(logits.detach(), labels)
        if self._logs_this_step():
            shown = self._check_finite("training loss", loss)
            # Not by prog_bar: Lightning would then fetch the number from the device at every step.
            self.trainer.progress_bar_metrics["train/loss"] = shown
            self.log("train/loss", loss, sync_dist=True)
        self._last_loss = loss.detach()
        return loss

    def _training_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.loss == "cross_entropy":
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        shares = labels if labels.ndim == 2 else F.one_hot(labels, self.num_classes)
        return F.binary_cross_entropy_with_logits(logits, (shares > THERE).to(logits.dtype))

    def _logits(self, images: Tensor) -> Tensor:
        """The network's output, which in training may be another than the one that was checked in evaluation.

        Raises:
            UserError: It is no logits.
        """
        logits: Any = self(images)
        wanted = (len(images), self.num_classes)
        if isinstance(logits, Tensor) and logits.shape == wanted and logits.is_floating_point():
            return logits
        got = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        mode = "training" if self.training else "evaluation"
        raise UserError(f"{type(self.network).__name__} must give logits of shape {wanted} in {mode}, got {got}")

    def take_loss(self, loss: float) -> None:
        """Check the loss of a step that was taken together with others.

        Raises:
            DivergedError: It is not finite.
        """
        if not math.isfinite(loss):
            self._check_finite("training loss", torch.tensor(loss))

    def take_steps(self, last_loss: Tensor, correct: Tensor, images: int, batches: int) -> None:
        """Know of steps that were taken together with others.

        Args:
            last_loss: Loss of the last one.
            correct: Number of images that they classified right.
            images: Number of their images.
            batches: Number of steps.
        """
        self._last_loss = last_loss
        self._trained.count(correct, images, batches)

    def _check_finite(self, name: str, loss: Tensor) -> float:
        """Raise in every process if the loss of any is not finite: one that goes on alone would wait for the others.

        It waits for the device.

        Returns:
            The mean of all processes.
        """
        value = float(self.trainer.strategy.reduce(loss.detach(), reduce_op="mean"))
        if not math.isfinite(value):
            raise DivergedError(f"the {name} is {value} at step {self.global_step}: try a lower learning rate")
        return value

    def _count_trained(self) -> None:
        """Add the batches since the last call to the training accuracy, which need not be told of each."""
        trained, new = self.train_accuracy, self._trained
        if new.correct is None:
            return
        wrong = new.samples - new.correct
        counts = {"tp": new.correct, "fp": wrong, "fn": wrong, "tn": (self.num_classes - 1) * new.samples - wrong}
        for name, count in counts.items():
            setattr(trained, name, getattr(trained, name) + count)
        trained._update_count += new.batches
        trained._computed = None
        self._trained = _Trained()

    def setup(self, stage: str) -> None:
        """Load the teacher, if there is one and this is training.

        Raises:
            UserError: It is not there, or was trained on other classes or images.
        """
        if stage == "fit" and self._teacher_path is not None and self.teacher is None:
            shape, temperature = self.image_shape, self.teacher_temperature
            self.teacher = load_teacher(self._teacher_path, self.num_classes, shape, temperature)

    def on_fit_start(self) -> None:
        """Move the teacher to the device, and check that it is the one that a continued training began with.

        Raises:
            UserError: It is another.
        """
        if self.teacher is not None:
            if self._taught_by not in (None, self.teacher.checksum):
                raise UserError(f"teacher {self._teacher_path}: its weights are not those that the training began with")
            like = next(self.network.parameters())
            self.teacher.network.to(like.device, like.dtype)
            if self.channels_last:
                self.teacher.network.to(memory_format=torch.channels_last)

    def on_train_start(self) -> None:
        """Check that the learning-rate schedule, which may come from a checkpoint, is long enough.

        Where a finder has changed the batch size or the learning rate since the schedule was made, it is made anew.

        Raises:
            UserError: The training is longer.
        """
        if self.global_step == 0 and self._is_stale():
            self.trainer.strategy.setup_optimizers(self.trainer)
        schedulers = self.trainer.lr_scheduler_configs
        length = getattr(schedulers[0].scheduler, "total_steps", None) if schedulers else None
        finder = not self.trainer.callbacks  # type: ignore[attr-defined]
        if length is not None and finder and isinstance(self.trainer.logger, DummyLogger):
            self.trainer.strategy.lr_scheduler_configs = []  # a finder of batch sizes tries some steps, again and again
            return
        if length is not None and self.trainer.estimated_stepping_batches > length:
            raise UserError(
                f"the learning-rate schedule ends after {length} steps, but the training takes "
                f"{self.trainer.estimated_stepping_batches}: give it as many total_steps, or continue a checkpoint "
                "with the max_epochs, batch size and data that it began with"
            )

    def _is_stale(self) -> bool:
        """Whether the schedule was made for another length or rate, and the training has not begun with it."""
        there = bool(self.trainer.lr_scheduler_configs)
        return self._scheduled is not None and not (there and self._scheduled == self._schedule_now())

    def _schedule_now(self) -> tuple[float, float | None]:
        """What a schedule follows from: the steps of the training, and the learning rate."""
        return self.trainer.estimated_stepping_batches, getattr(self.optimizer, "keywords", {}).get("lr")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tell an optimizer that trains with other weights than it found so far that training goes on."""
        self._tell_optimizers("train")

    def on_validation_start(self) -> None:
        """Let such an optimizer put the weights that it found into the network."""
        self._tell_optimizers("eval")

    def on_train_end(self) -> None:
        """Leave the weights that were found in the network."""
        self._tell_optimizers("eval")

    def _tell_optimizers(self, mode: str) -> None:
        """Call the method `train` or `eval` of optimizers that have it, as those of Defazio et al. (2024) do."""
        for optimizer in self.trainer.optimizers:
            if callable(switch := getattr(optimizer, mode, None)):
                switch()

    def on_train_epoch_end(self) -> None:
        """Check the loss of the last step, which may not have been logged; the checkpoint has what was found."""
        self._tell_optimizers("eval")
        if self._last_loss is not None:
            self._check_finite("training loss", self._last_loss)

    def on_validation_end(self) -> None:
        """Check the validation loss during training."""
        loss = self.trainer.callback_metrics.get("val/loss")
        if loss is not None and self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self._check_finite("validation loss", loss)

    def _logs_this_step(self) -> bool:
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return (self.global_step + 1) % every == 0 or self.trainer.is_last_batch

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate one batch of the validation split."""
        self._evaluate(batch, self.val_loss, self.val_accuracy)

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        self.tested.clear()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate one batch of the test split."""
        self.tested.add(self._evaluate(batch, self.test_loss, self.test_accuracy), batch[1])

    def _evaluate(self, batch: Batch, loss: MeanMetric, accuracy: MulticlassAccuracy) -> Tensor:
        """Return the logits; what is counted is logged at the end of the evaluation, as to log takes time."""
        images, labels = batch
        logits = self._logits(images)
        loss.update(F.cross_entropy(logits, labels, reduction="none"))
        accuracy.update(logits, labels)
        return logits

    def on_test_epoch_end(self) -> None:
        """Log loss and accuracy."""
        self.log("test/loss", self.test_loss)
        self.log("test/accuracy", self.test_accuracy, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Log loss and accuracy, and beside them the training accuracy since the last evaluation."""
        self.log("val/loss", self.val_loss)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)
        if self.trainer.sanity_checking:
            return
        self._count_trained()
        trained = self.train_accuracy
        if trained.update_count:
            self.log("train/accuracy", trained.compute())
            trained.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return class probabilities `(N, num_classes)`."""
        probabilities: Tensor = self(batch[0]).softmax(dim=1)
        return probabilities

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimizer, and the scheduler with the length of the training.

        Raises:
            UserError: The optimizer does not suit the parameters, or the scheduler the optimizer.
        """
        if getattr(self.optimizer, "func", self.optimizer) is torch.optim.Muon:
            raise UserError("torch.optim.Muon takes matrices only: lit_adaptconv.train.MuonAdamW takes any parameters")
        with told_in_one_line("building the optimizer"):
            if self.weight_decay_on == "all" and self._divided is None:
                optimizer = self.optimizer(self.parameters())
            else:
                optimizer = with_groups(self.optimizer, self, self._divided, self.weight_decay_on)
        if self.scheduler is None:
            return optimizer
        scheduler, length = self.scheduler, _length_argument(self.scheduler)
        if length is None:
            _try_out(scheduler, optimizer)
            made = _made(scheduler, optimizer)
            if isinstance(made, ReduceLROnPlateau):
                return {"optimizer": optimizer, "lr_scheduler": self._watching(made)}
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": "epoch"}}
        self._scheduled = self._schedule_now() if length == 0 else None
        if length == 0:
            steps = self.trainer.estimated_stepping_batches
            if steps == float("inf"):
                raise UserError("this learning-rate schedule needs an end: set trainer.max_epochs or trainer.max_steps")
            scheduler = partial(scheduler, total_steps=int(steps))  # type: ignore[call-arg]
        made = _made(scheduler, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": "step"}}

    def _watching(self, scheduler: ReduceLROnPlateau) -> LRSchedulerConfigType:
        """A schedule that follows a metric: that of its own `monitor`, or the validation loss."""
        every = self.trainer.check_val_every_n_epoch
        return {
            "scheduler": scheduler,
            "interval": "epoch",
            "monitor": getattr(scheduler, "monitor", "val/loss"),
            "frequency": every or 1,
            "strict": every is not None,  # else there are epochs without an evaluation
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running training accuracy, and the shape of the images."""
        self._count_trained()
        checkpoint["training_accuracy"] = dict(self.train_accuracy.metric_state)
        checkpoint["training_accuracy_updates"] = self.train_accuracy.update_count
        checkpoint["image_shape"] = list(self.image_shape)
        if self.teacher is not None:
            checkpoint["teacher"] = self.teacher.checksum

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint fits, and restore the running training accuracy.

        Raises:
            UserError: The checkpoint comes from another network, or was trained on images of another shape.
        """
        stack_kernels(checkpoint, self)
        check_compatible(checkpoint, self.state_dict(), self.image_shape)
        fitting = self._trainer is not None and self._trainer.state.fn == "fit"
        if fitting and (states := checkpoint.get("optimizer_states")):
            # What is continued goes on as it began: earlier versions decayed all parameters, in one group.
            self._divided = len(states[0]["param_groups"]) > 1
            self.weight_decay_on = checkpoint.get("hyper_parameters", {}).get("weight_decay_on", "weights")
        self._taught_by = checkpoint.get("teacher")
        trained = self.train_accuracy
        for name, value in checkpoint.get("training_accuracy", {}).items():
            setattr(trained, name, value.to(trained.device))
        trained._update_count = checkpoint.get("training_accuracy_updates", 0)


def _made(scheduler: SchedulerCallable, optimizer: Optimizer) -> LRScheduler:
    """Make a learning-rate schedule.

    Raises:
        UserError: It cannot be made for this optimizer.
    """
    with told_in_one_line("building the learning-rate schedule"):
        return scheduler(optimizer)


def _try_out(scheduler: SchedulerCallable, optimizer: Optimizer) -> None:
    """Let a schedule of epochs take two steps on an optimizer without parameters: it need not train for them.

    Raises:
        UserError: It cannot.
    """
    idle = copy.copy(optimizer)
    idle.param_groups = [{**group, "params": []} for group in optimizer.param_groups]
    idle._opt_called = True  # type: ignore[attr-defined]  # else the schedule says that it comes too early
    given = getattr(scheduler, "keywords", {})
    with told_in_one_line(f"trying the learning-rate schedule{f' with {given}' if given else ''}"):
        schedule = scheduler(idle)
        for _ in range(2):
            schedule.step(0.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()


def _length_argument(scheduler: SchedulerCallable) -> int | None:
    """The schedule's argument `total_steps`: 0 where it was left open, None where it has none."""
    given = getattr(scheduler, "keywords", {})
    if "total_steps" in given:
        return int(given["total_steps"] or 0)
    return 0 if "total_steps" in inspect.signature(scheduler).parameters else None
