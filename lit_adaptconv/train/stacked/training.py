"""Trains several runs together that differ in their seed, or in what an optimizer is given, alone.

Each is an ordinary `Training`, with its own folder, data order, learning curve, checkpoints and result. They take turns
(see `turns`); what costs time, the steps and the outputs in evaluation, is computed for all that wait for it at once.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.data.loader import PlannedBatch
from lit_adaptconv.data.source import ResidentImages
from lit_adaptconv.errors import UserError
from lit_adaptconv.train.checkpoint import StagedCheckpointIO
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.convert_callback import ConvertConvolutions
from lit_adaptconv.train.stacked.loop import Ask, OutputLoader, Outputs, PlanningLoader, StackedEpochLoop, Steps, Taken
from lit_adaptconv.train.stacked.network import StackedNetwork
from lit_adaptconv.train.stacked.optimizers import Member, optimizers_of
from lit_adaptconv.train.stacked.random_state import MemberRandom
from lit_adaptconv.train.stacked.step import StackedStep
from lit_adaptconv.train.stacked.turns import Turn
from lit_adaptconv.train.training import Training

TRAINER = (
    "accelerator",
    "benchmark",
    "callbacks",
    "check_val_every_n_epoch",
    "default_root_dir",
    "deterministic",
    "devices",
    "enable_model_summary",
    "enable_progress_bar",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "limit_test_batches",
    "limit_train_batches",
    "limit_val_batches",
    "log_every_n_steps",
    "logger",
    "max_epochs",
    "max_steps",
    "min_epochs",
    "num_nodes",
    "num_sanity_val_steps",
    "precision",
    "val_check_interval",
)
"""Settings of the trainer with which runs can be trained together."""
PRECISIONS = (None, "32-true", "32", 32, "64-true", "64", 64, "bf16-mixed")
CALLBACKS = (EarlyStopping, ConvertConvolutions)
"""Callbacks that do nothing within the steps."""


class NotTogetherError(UserError):
    """Runs can't be trained together; each can still be trained alone."""


def check_config(config: Mapping[str, Any]) -> None:
    """Check that runs of a configuration can be trained together, as far as the configuration tells.

    Args:
        config: What `adaptconv fit` takes.

    Raises:
        UserError: They can't, with the reason.
    """
    trainer = config["trainer"]
    if "class_path" in config["model"]:
        raise UserError(f"{config['model']['class_path']} computes its losses itself")
    if config["model"].get("compile"):
        raise UserError("the network is compiled")
    if config["model"].get("channels_last"):
        raise UserError("the channels are laid out last")
    if config["model"].get("teacher"):
        raise UserError("the network learns from a teacher")
    if config["model"].get("loss", "cross_entropy") != "cross_entropy":
        raise UserError(f"the loss is {config['model']['loss']}")
    usual = inspect.signature(pl.Trainer).parameters
    for name, value in trainer.items():
        if name not in TRAINER and value is not None and name in usual and value != usual[name].default:
            raise UserError(f"trainer.{name} is {value!r}")
    if trainer.get("precision") not in PRECISIONS:
        raise UserError(f"trainer.precision is {trainer['precision']}")
    if trainer.get("devices") not in (None, "auto", 1, "1") or trainer.get("num_nodes") not in (None, 1):
        raise UserError("a trial trains on several devices")
    callbacks = trainer.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        name = str(callback.get("class_path", "")).rpartition(".")[2]
        if name not in [known.__name__ for known in CALLBACKS]:
            raise UserError(f"the callback {name} may act within steps")


def train_together(
    configs: Sequence[Mapping[str, Any]],
    settled: Callable[[Mapping[int, BaseException | None]], None] = lambda ended: None,
) -> dict[int, BaseException | None]:
    """Train and test runs together.

    Args:
        configs: The configuration of each, as `{"subcommand": "fit", "fit": {…}}`; they differ in their seeds, their
            folders, and what the optimizer is given.
        settled: Is called whenever all that still train wait for each other, or have ended, with what those that have
            ended raised.

    Returns:
        What each raised, by its number; None of one that ended well.

    Raises:
        NotTogetherError: They can't be trained together after all.
        KeyboardInterrupt: The user interrupted; each has written what it has.
    """
    data: list[pl.LightningDataModule] = []

    def training(config: Mapping[str, Any]) -> Callable[[Ask], None]:
        def run(ask: Ask) -> None:
            _MemberTraining(dict(config), len(configs), ask, data)

        return run

    members = [Turn(training(config)) for config in configs]
    try:
        for member in members:
            member.go()
        while True:
            ended = {number: member.error for number, member in enumerate(members) if member.over}
            for error in ended.values():
                if isinstance(error, NotTogetherError):
                    raise error
            settled(ended)
            if len(ended) == len(members):
                return ended
            asking, answers = _served([member for member in members if not member.over])
            for member, answer in zip(asking, answers, strict=True):
                member.go(answer)
    except BaseException:
        for member in members:
            member.end(SIGTERMException())  # what Lightning does with Ctrl-C needs the main thread
        raise


class _MemberTraining(Training):
    """A training whose steps and outputs are asked for.

    Args:
        config: The configuration.
        members: Number of trainings.
        ask: Asks for them.
        data: The data of the members that were there before, with whom it shares images.
    """

    checkpoint_io = StagedCheckpointIO
    one_of_several = True

    def __init__(self, config: dict[str, Any], members: int, ask: Ask, data: list[pl.LightningDataModule]) -> None:
        self._members = members
        self._ask = ask
        self._data = data
        super().__init__(config)

    def instantiate_classes(self) -> None:
        """Build everything, and take the place of the loop and of the loaders.

        Raises:
            UserError: The data or the model can't be trained together with others.
        """
        super().instantiate_classes()
        module, data = self.model, self.datamodule
        if type(module) is not ImageClassifier or not isinstance(data, ImageData):
            raise NotTogetherError("only an ImageClassifier on this package's data is trained together with others")
        if self.recorder is not None:
            self.recorder.result.stacked = self._members
        loop = self.trainer.fit_loop
        loop.epoch_loop = StackedEpochLoop(self.trainer, loop.epoch_loop, self._ask)
        train, val, test, setup = data.train_dataloader, data.val_dataloader, data.test_dataloader, data.setup
        ask, known = self._ask, self._data

        def planning() -> PlanningLoader:
            loader = train()
            if not isinstance(loader.source, ResidentImages):
                raise NotTogetherError("the images are read as they are needed, not kept in memory")
            return PlanningLoader(loader)

        def shared_setup(stage: str | None = None) -> None:
            for other in known:
                if other is not data and isinstance(other, ImageData):
                    data.share(other)
            setup(stage)

        data.setup = shared_setup  # type: ignore[method-assign]
        data.train_dataloader = planning  # type: ignore[method-assign, assignment]
        data.val_dataloader = lambda: OutputLoader(val(), module, ask)  # type: ignore[method-assign, assignment, return-value]
        data.test_dataloader = lambda: OutputLoader(test(), module, ask)  # type: ignore[method-assign, assignment, return-value]
        known.append(data)


def _served(waiting: Sequence[Turn]) -> tuple[list[Turn], list[Any]]:
    """Compute what members ask for.

    Raises:
        NotTogetherError: It can't be computed for several at once: the network can't be mapped, or memory is short.
    """
    try:
        return _serve(waiting)
    except Exception as error:  # of whatever torch.vmap can't map
        traceback.print_exc()
        raise NotTogetherError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _serve(waiting: Sequence[Turn]) -> tuple[list[Turn], list[Any]]:
    """Compute what the first member asks for, for all that ask for the same.

    Returns:
        Those members, and their answers.
    """
    first = waiting[0].request
    if isinstance(first, Outputs):
        asking = [turn for turn in waiting if isinstance(turn.request, Outputs) and _equally_long(turn.request, first)]
        return asking, _outputs([turn.request for turn in asking])
    asking = [turn for turn in waiting if isinstance(turn.request, Steps) and _alike(turn.request, first)]
    return asking, _steps(asking, [turn.request for turn in asking])


def _equally_long(one: Outputs, other: Outputs) -> bool:
    return one.loader.sampler.edges() == other.loader.sampler.edges()


def _alike(one: Steps, other: Steps) -> bool:
    return one.sizes == other.sizes and one.logged == other.logged


def _steps(turns: Sequence[Turn], asked: Sequence[Steps]) -> list[Taken]:
    """Take the steps of all members."""
    modules, first = [each.module for each in asked], asked[0]
    trainer, device = first.trainer, first.module.device
    precision = trainer.precision_plugin
    clip, algorithm = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
    network = StackedNetwork([module.network for module in modules])
    network.like(first.module.network)
    random = MemberRandom([turn.state.on(device) for turn in turns], device)
    clipping = (float(clip), str(getattr(algorithm, "value", algorithm) or "norm")) if clip else None
    smoothing, steps = first.module.label_smoothing, len(first.batches)
    step = StackedStep(network, random, precision.train_step_context, smoothing, clipping, steps)
    optimizers = optimizers_of(network.parameters, [_member(each) for each in asked])
    losses: dict[int, Tensor] = {}
    correct = torch.zeros(len(asked), dtype=torch.int64, device=device)
    for number, planned in enumerate(zip(*[each.batches for each in asked], strict=True)):
        loss, right = step(*precision.convert_input(_made(asked, planned)))
        for optimizer in optimizers:
            optimizer.step()
        correct += right
        if number in first.logged:
            losses[number] = loss.clone()
    network.unstack([module.network for module in modules])
    for optimizer in optimizers:
        optimizer.finish()
    for turn, state in zip(turns, random.states, strict=True):
        turn.state.put(device, state)
    wanted = {step: values.tolist() for step, values in losses.items()}
    last = loss.clone()
    return [
        Taken({step: values[number] for step, values in wanted.items()}, last[number], correct[number])
        for number in range(len(asked))
    ]


def _member(asked: Steps) -> Member:
    if callable(getattr(asked.trainer.optimizers[0], "eval", None)):
        raise NotTogetherError("the optimizer evaluates other weights than it trains")
    schedules = [config.scheduler for config in asked.trainer.lr_scheduler_configs if config.interval == "step"]
    return Member(asked.module.network, asked.trainer.optimizers[0], schedules)


def _made(asked: Sequence[Steps | Outputs], planned: Sequence[PlannedBatch]) -> tuple[Tensor, Tensor]:
    """The members' batches, `(M, N, C, H, W)` and `(M, N, …)`, by one access where their images are the same."""
    sources = [each.loader.source for each in asked]
    if all(source is sources[0] for source in sources):
        images, labels = asked[0].loader.make(planned)
    else:
        made = [each.loader.make([batch]) for each, batch in zip(asked, planned, strict=True)]
        images, labels = (torch.cat(parts) for parts in zip(*made, strict=True))
    return images.view(len(asked), -1, *images.shape[1:]), labels.view(len(asked), -1, *labels.shape[1:])


@torch.no_grad()
def _outputs(asked: Sequence[Outputs]) -> list[tuple[Tensor, Tensor]]:
    """The outputs of all members on the images of their loaders."""
    first = asked[0]
    precision = first.trainer.precision_plugin
    network = StackedNetwork([each.module.network for each in asked])
    network.like(first.module.network)
    found: list[tuple[Tensor, Tensor]] = []
    for planned in zip(*[each.loader.planned() for each in asked], strict=True):
        images, labels = _made(asked, planned)
        with precision.val_step_context():
            found.append((network(precision.convert_input(images)), labels))
    logits, labels = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return [*zip(logits.unbind(), labels.unbind(), strict=True)]
