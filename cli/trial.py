"""One trial of a sweep, in a warm process: an ordinary `adaptconv fit` with a complete config."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb
import yaml

from .main import quieten
from .training import TrainingCLI


def run_trial(folder: Path, checkpoint: Path | None) -> None:
    """Train and test what `config.yaml` in a folder says.

    Args:
        folder: The trial's folder.
        checkpoint: Checkpoint to continue from.
    """
    quieten()
    args = ["fit", "--config", str(folder / "config.yaml")]
    if checkpoint is not None:
        args += ["--ckpt_path", str(checkpoint)]
    try:
        with _own_arguments():
            TrainingCLI(args, importlib.metadata.version("lit-adaptconv"))
        (folder / "checkpoints" / "best.ckpt").unlink(missing_ok=True)  # the finished model is what was tested
    finally:
        if wandb.run is not None:  # of a trial that failed: the next one must not log into its run
            wandb.finish(exit_code=1)


@contextlib.contextmanager
def _own_arguments() -> Iterator[None]:
    """Hide the process's arguments: LightningCLI warns about arguments beside those that it is given."""
    saved, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = saved


class _ParsedCLI(TrainingCLI):
    """Reads a config and stops there."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Check a config and complete it with the defaults of `adaptconv fit`; nothing is built.

    Raises:
        SystemExit: It is not valid; the error has been printed in one line.
    """
    with _own_arguments():
        cli = _ParsedCLI({"subcommand": "fit", "fit": config}, importlib.metadata.version("lit-adaptconv"))
    resolved: dict[str, Any] = yaml.safe_load(cli._parser("fit").dump(cli.config["fit"], skip_none=False))
    return resolved
