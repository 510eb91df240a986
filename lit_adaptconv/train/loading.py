"""The network and the data that `--config` or `--ckpt_path` name, for commands that look at a network."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.seed import seed_everything

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.train.checkpoint import AtomicCheckpointIO
from lit_adaptconv.train.class_defaults import parse_args
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.parser import OneLineParser
from lit_adaptconv.train.runs import CHECKPOINTS, newest_run, with_config_of_run
from lit_adaptconv.train.training import CLASSES, DEFAULTS, SHAPE

OF_TRAINING = ("trainer", "convergence", "weights_only")
"""Further settings in a run's `config.yaml`, which are of no use here."""


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode on the CPU, with its data.

    Attributes:
        model: The classifier.
        data: The data module; it has read nothing yet.
        checkpoint: Where the weights come from; None if they are drawn.
        options: The command's own options.
    """

    model: ImageClassifier
    data: ImageData
    checkpoint: Path | None
    options: dict[str, Any]


def network_parser(command: str, description: str) -> OneLineParser:
    """Make a parser with the settings of a network and its data; commands add their own options."""
    parser = OneLineParser(prog=f"adaptconv {command}", description=description)
    parser.add_argument("-c", "--config", action="config", help="Path to a configuration in YAML, such as a run's.")
    parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint of the network: a file, last or best.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights that no checkpoint gives.")
    parser.add_lightning_class_args(ImageClassifier, "model")
    parser.add_lightning_class_args(ImageData, "data", subclass_mode=True)
    parser.set_defaults(DEFAULTS)
    for name in SHAPE:
        parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
    parser.add_argument("--run", type=dict[str, Any] | None, help="Which run `last` and `best` mean.")
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
        SystemExit: The arguments are not valid; the error has been printed in one line.
        UserError: The network cannot be built, or the checkpoint is missing, damaged or of another network.
    """
    given = parse_args(parser, with_config_of_run([parser.prog, *args])[1:], CLASSES)
    if needs_checkpoint and given.ckpt_path is None:
        raise UserError(f"{parser.prog.split()[-1]} needs a trained network: give a checkpoint, last or best")
    seed_everything(given.seed_everything, verbose=False)
    checkpoint = _checkpoint(given.ckpt_path, given.run or {})
    loaded = None if checkpoint is None else AtomicCheckpointIO().load_checkpoint(checkpoint)
    built = parser.instantiate_classes(given)
    model: ImageClassifier = built.model
    data: ImageData = built.data
    if loaded is not None:
        model.on_load_checkpoint(loaded)
        model.load_state_dict(loaded["state_dict"])
        if type(data).__name__ in loaded:
            data.load_state_dict(loaded[type(data).__name__])
    return Trained(model.eval(), data, checkpoint, given.as_dict())


def _checkpoint(path: str | None, run: dict[str, Any]) -> Path | None:
    if path in CHECKPOINTS:
        return newest_run(run.get("root") or "runs", run.get("name"), run.get("id")) / CHECKPOINTS[path]
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


def set_threads(threads: int | None) -> None:
    """Let PyTorch use so many CPU threads.

    Raises:
        UserError: It is below 1.
    """
    if threads is not None:
        if threads < 1:
            raise UserError(f"threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
