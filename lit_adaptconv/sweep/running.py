"""One trial of a sweep, in a warm process: an ordinary `adaptconv fit` with a complete config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wandb
import yaml

from lit_adaptconv.train.quiet import quieten
from lit_adaptconv.train.training import Training


def run_trial(config: dict[str, Any]) -> None:
    """Train and test.

    Args:
        config: Complete config of `adaptconv fit`, with the checkpoint to continue from as `ckpt_path`.
    """
    quieten()
    run = config["run"]
    try:
        Training({"subcommand": "fit", "fit": config})
        checkpoints = Path(run["root"]) / run["name"] / run["id"] / "checkpoints"
        for checkpoint in checkpoints.glob("*.ckpt"):
            if checkpoint.name != "last.ckpt" or not run["test"]:  # what was tested is the finished model
                checkpoint.unlink()
    finally:
        if wandb.run is not None:  # of a trial that failed: the next one must not log into its run
            wandb.finish(exit_code=1)


class _Parsed(Training):
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
    cli = _Parsed({"subcommand": "fit", "fit": config})
    resolved: dict[str, Any] = yaml.safe_load(cli._parser("fit").dump(cli.config["fit"], skip_none=False))
    return resolved
