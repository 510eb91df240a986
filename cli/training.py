"""`adaptconv fit | validate | test | predict`: a training, shown on the screen."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar as PLProgressBar
from rich.console import Console

from lit_adaptconv.train.checkpoint import BestCheckpoint, LastCheckpoint, holds
from lit_adaptconv.train.recorder import RunRecorder
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.training import Training

from .fitted import text
from .main import TRAINING
from .progress import ProgressBar
from .tables import checkpoint_note, result_note, result_table, stage_table

PROGRAM = "adaptconv"


class TrainingCLI(Training):
    """A training from the command line, which shows its progress and its result.

    Args:
        args: The command line.
    """

    def __init__(self, args: list[str]) -> None:
        super().__init__(args, {"prog": PROGRAM})

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> Any:
        """Make the parser, with headings of our own where Lightning's are cut sentences."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        for group in parser._action_groups:
            if group.title == parser.description:
                group.title = "Checkpoint"
            elif str(group.title).startswith("A DataModule"):
                group.title = "Data"
        parser.description = TRAINING[subcommand]
        return parser

    def shown_callbacks(self, trainer: Mapping[str, Any]) -> list[pl.Callback]:
        """A progress bar, unless there shall be none or there is one."""
        given = trainer.get("callbacks") or []
        callbacks = given if isinstance(given, list) else [given]
        others = any(isinstance(callback, PLProgressBar) for callback in callbacks)
        return [] if trainer.get("enable_progress_bar") is False or others else [ProgressBar()]

    def show_result(self, recorder: RunRecorder, sync_hint: str | None) -> None:
        """Print the result as a table, and where the run is."""
        console = Console()
        if sync_hint:
            console.print(text(f"Weights & Biases: logged offline; send it with: {sync_hint}"), soft_wrap=True)
        console.print(result_table([recorder.result]))
        if note := result_note([recorder.result]):
            console.print(note, soft_wrap=True)
        if note := checkpoint_note(recorder.result, *self._kept(recorder.result)):
            console.print(note, soft_wrap=True)
        console.print(text(f"Run: {os.path.relpath(recorder.folder)}"), soft_wrap=True)

    def _kept(self, result: RunResult) -> tuple[bool | None, bool]:
        """Whether `last.ckpt` has the network as it is (None: unknown), and `best.ckpt` that of the best evaluation."""
        last: bool | None = None
        best = False
        for kept in self.trainer.checkpoint_callbacks:
            path = Path(getattr(kept, "best_model_path", ""))
            if isinstance(kept, LastCheckpoint) and path.is_file():
                last = holds(path, self.model)
            elif isinstance(kept, BestCheckpoint) and path.is_file() and kept.best_model_score is not None:
                value = result.best_val_value
                best = value is not None and math.isclose(float(kept.best_model_score), value, rel_tol=1e-6)
        return last, best

    def show_metrics(self, stage: str, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Print the metrics as a table."""
        Console().print(stage_table(stage, self.model, metrics))

    def show_predictions(self, output: Path, rows: int) -> None:
        """Print where they are."""
        Console().print(text(f"Wrote {rows:,} predictions to {output}"), soft_wrap=True)
