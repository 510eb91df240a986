"""Load what was trained: a run with its network, data and result, or what `--config` or `--ckpt_path` name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.seed import seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError, told_in_one_line
from lit_adaptconv.train.checkpoint import AtomicCheckpointIO
from lit_adaptconv.train.class_defaults import parse_args
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.convert_callback import ConvertConvolutions
from lit_adaptconv.train.model_and_data import CLASSES, add_model_and_data, build_data, named_model
from lit_adaptconv.train.parser import OneLineParser
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG, best_weights, newest_run, with_config_of_run

MOST_THREADS = 1024
"""PyTorch's threads take memory at once; millions of them end the process."""
OF_TRAINING = ("convergence", "weights_only", "optimizer", "lr_scheduler")
"""Further settings in a run's `config.yaml`, which are of no use here."""


@dataclass(frozen=True)
class Trained:
    """A module in evaluation mode on the CPU, with its data.

    Attributes:
        model: The LightningModule.
        data: The data module; it has read nothing yet. None where the module brings its own data.
        checkpoint: Where the weights come from; None if they are drawn.
        options: The command's own options.
    """

    model: pl.LightningModule
    data: pl.LightningDataModule | None
    checkpoint: Path | None
    options: dict[str, Any]

    def image_classifier(self, purpose: str) -> tuple[ImageClassifier, ImageData]:
        """The module and its data, for what only an `ImageClassifier` with image data of this package can do.

        Raises:
            UserError: They are others.
        """
        if isinstance(self.model, ImageClassifier) and isinstance(self.data, ImageData):
            return self.model, self.data
        there = f"{type(self.model).__name__} with {type(self.data).__name__}"
        raise UserError(f"{purpose} needs an ImageClassifier with image data of lit_adaptconv.data, this is {there}")

    @property
    def network(self) -> nn.Module:
        """What maps a batch to a prediction: an `ImageClassifier`'s network, or the module itself."""
        network = getattr(self.model, "network", None)
        return network if isinstance(network, nn.Module) else self.model

    @property
    def kind(self) -> str:
        """The conv kind of an `ImageClassifier`, or of the conversion that the module went through; else empty."""
        return str(getattr(self.model, "kind", ""))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image, `(C, H, W)`.

        Raises:
            UserError: The module does not tell: it has neither `image_shape` nor an `example_input_array` of images.
        """
        shape = getattr(self.model, "image_shape", None)
        example = self.model.example_input_array
        if shape is None and isinstance(example, Tensor):
            shape = example.shape[1:]
        if shape is None or len(shape) != 3:
            name = type(self.model).__name__
            raise UserError(f"the images that {name} takes are not known: give it an example_input_array (1, C, H, W)")
        return (int(shape[0]), int(shape[1]), int(shape[2]))


@dataclass(frozen=True)
class Run:
    """A run of `adaptconv fit`.

    Attributes:
        module: The trained LightningModule, in evaluation mode on the CPU.
        data: Its data module; it has read nothing yet. None where the module brings its own data.
        result: What the run recorded.
        folder: The run's folder.
    """

    module: pl.LightningModule
    data: pl.LightningDataModule | None
    result: RunResult
    folder: Path


def load_run(path: str | os.PathLike[str], checkpoint: Literal["best", "last"] = "best") -> Run:
    """Load a run: the trained module, its data module and its result.

    The classes in the run's configuration are imported from where they are now; no code is loaded from the folder.

    Args:
        path: The run's folder, `runs/<name>/<id>`; or `runs/<name>` for the newest run of that name.
        checkpoint: Which weights to load: "best" are those of the best evaluation (or the last, if no other was kept).

    Raises:
        UserError: There is no run, it has no such checkpoint, or its classes cannot be found.
    """
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        wanted = ("best", "last") if checkpoint == "best" else ("last",)
        folder = newest_run(str(folder.parent), folder.name, None, *wanted)
    best = best_weights(folder) if checkpoint == "best" else None
    trained = load_checkpoint(folder, best or folder / CHECKPOINTS["last"])
    return Run(trained.model, trained.data, RunResult.read(folder / "result.json"), folder)


def load_network(folder: Path) -> Trained:
    """The network of a run's folder, with the weights of its best checkpoint, or its last, or else as they were drawn.

    Raises:
        UserError: The folder holds no run, a checkpoint is damaged, or the classes are not there.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} is not the folder of a run: it has no {CONFIG}")
    return load_checkpoint(folder, best_weights(folder))


def load_checkpoint(folder: Path, weights: Path | None) -> Trained:
    """Load a checkpoint of a run; random generators and the seed of later ones stay as they are.

    Args:
        folder: The run's folder.
        weights: The checkpoint; None leaves the weights as they were drawn.

    Raises:
        UserError: It is not there or damaged, or the run's classes are not there.
    """
    given = ["--config", str(folder / CONFIG), *([] if weights is None else ["--ckpt_path", str(weights)])]
    seed = os.environ.get("PL_GLOBAL_SEED")
    with isolate_rng():
        trained = load_trained(network_parser("load", "", given), given)
    os.environ.pop("PL_GLOBAL_SEED", None)
    if seed is not None:
        os.environ["PL_GLOBAL_SEED"] = seed
    return trained


def network_parser(command: str, description: str, args: Sequence[str]) -> OneLineParser:
    """Make a parser with the settings of a module and its data; commands add their own options.

    Args:
        command: Name of the command.
        description: What it does.
        args: The command line, which says whether the model is one of someone else's.
    """
    parser = OneLineParser(prog=f"adaptconv {command}", description=description)
    parser.add_argument("-c", "--config", action="config", help="Path to a configuration in YAML, such as a run's.")
    parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint of the network: a file, last or best.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights that no checkpoint gives.")
    add_model_and_data(parser, named_model(with_config_of_run([command, *args])))
    parser.add_argument("--run", type=dict[str, Any] | None, help="Which run `last` and `best` mean.")
    parser.add_argument("--trainer", type=dict[str, Any] | None, help=argparse.SUPPRESS)
    for name in OF_TRAINING:
        parser.add_argument(f"--{name}", type=Any, help=argparse.SUPPRESS)
    return parser


def load_trained(parser: OneLineParser, args: list[str], needs_checkpoint: bool = False) -> Trained:
    """Build what the arguments name, and load the checkpoint.

    Args:
        parser: From `network_parser`, with further options.
        args: The command's arguments; without a config among them, that of the checkpoint's run is taken.
        needs_checkpoint: Whether a network that was never trained is an error.

    Raises:
        UsageError: The arguments are not valid.
        UserError: The network cannot be built, or the checkpoint is missing, damaged or of another network.
    """
    classes = [name for name in CLASSES if any(action.dest == name for action in parser._actions)]
    given = parse_args(parser, with_config_of_run([parser.prog, *args])[1:], classes)
    if needs_checkpoint and given.ckpt_path is None:
        raise UserError(f"{parser.prog.split()[-1]} needs a trained network: give a checkpoint, last or best")
    with told_in_one_line("seed_everything"):
        seed_everything(given.seed_everything, verbose=False)
    checkpoint = _checkpoint(given.ckpt_path, given.run or {})
    loaded = None if checkpoint is None else AtomicCheckpointIO().load_checkpoint(checkpoint)
    options = given.as_dict()
    with told_in_one_line("building the data"):
        data = build_data(given)
    if isinstance(data, ImageData) and data.seed is None:
        data.seed = given.seed_everything  # its split is the run's, whatever is seeded later
    given.data = data
    with told_in_one_line("building the model"):
        model: pl.LightningModule = parser.instantiate_classes(given).model
        model.configure_model()
        for conversion in _conversions((options["trainer"] or {}).get("callbacks")):
            conversion.convert(model)
    if loaded is not None:
        model.on_load_checkpoint(loaded)
        _load(model, loaded["state_dict"])
        if data is not None and type(data).__name__ in loaded:
            data.load_state_dict(loaded[type(data).__name__])
    return Trained(model.eval(), data, checkpoint, options)


def _load(model: pl.LightningModule, state: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # PyTorch's word for parameters that do not fit
        said = " ".join(str(error).split())
        raise UserError(f"the checkpoint is of another {type(model).__name__}: {said[:300]}") from error


def _conversions(callbacks: Any) -> list[ConvertConvolutions]:
    """The conversions that a training began with, from its configuration."""
    given = callbacks if isinstance(callbacks, list) else [] if callbacks is None else [callbacks]
    parser = OneLineParser(prog="adaptconv")
    parser.add_argument("--callback", type=ConvertConvolutions)
    found = []
    for callback in given:
        path = callback if isinstance(callback, str) else callback.get("class_path", "")
        if path.rpartition(".")[2] == ConvertConvolutions.__name__:
            found.append(parser.instantiate_classes(parser.parse_object({"callback": callback})).callback)
    return found


def _checkpoint(path: str | None, run: dict[str, Any]) -> Path | None:
    if path in CHECKPOINTS:
        return newest_run(run.get("root") or "runs", run.get("name"), run.get("id"), path) / CHECKPOINTS[path]
    return None if path is None else Path(path)


def check_writable(output: Path) -> None:
    """Check, before much is computed, that a file can be written.

    Raises:
        UserError: It is a folder, or its folder cannot be written to.
    """
    if output.is_dir():
        raise UserError(f"{output} is a folder: give the name of a file")
    folder = output.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{output} cannot be written: {folder} is no folder, or not a writable one")


def check_seconds(seconds: float) -> None:
    """Check a time that something is measured for.

    Raises:
        UserError: It is not above 0.
    """
    if not seconds > 0:
        raise UserError(f"seconds must be above 0, got {seconds}")


def check_threads(threads: int) -> None:
    """Check a number of CPU threads.

    Raises:
        UserError: It is below 1, or above `MOST_THREADS`.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise UserError(f"threads must be at least 1, and at most {MOST_THREADS}, got {threads}")


def set_threads(threads: int | None) -> None:
    """Let PyTorch use so many CPU threads.

    Raises:
        UserError: It is below 1, or above `MOST_THREADS`.
    """
    if threads is not None:
        check_threads(threads)
        torch.set_num_threads(threads)
