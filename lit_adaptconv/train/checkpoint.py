"""Checkpoints that are written whole or not at all, and read without running code."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically

STAGED = ".new"
"""Ending of a checkpoint that waits until those of other runs are complete."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their final place and renames them.

    Lightning's own writer goes through the system's temporary folder, which may be another disk, and copies from there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` to the local file `path`."""
        write_atomically(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint.

        Raises:
            UserError: The file is missing, truncated, or no checkpoint.
        """
        if not Path(path).is_file():
            raise UserError(f"no checkpoint at {path}")
        try:
            checkpoint = torch.load(path, map_location=map_location or "cpu", weights_only=weights_only is not False)
        except MemoryError:
            raise
        except Exception as error:  # bytes that are no checkpoint can raise anything
            raise UserError(
                f"{path} is not a checkpoint, or a damaged one, or holds more than tensors and plain values "
                f"({type(error).__name__})"
            ) from error
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise UserError(f"{path} is not a checkpoint of Lightning's: it has no state_dict")
        return checkpoint


class StagedCheckpointIO(AtomicCheckpointIO):
    """Writes `last.ckpt` beside its place; whoever trains several runs together moves those of all of them at once."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint`, beside the local file `path` where that is the last one."""
        last = Path(path).name == "last.ckpt"
        super().save_checkpoint(checkpoint, f"{path}{STAGED}" if last else path, storage_options)


def holds(path: Path, model: nn.Module) -> bool | None:
    """Whether a checkpoint has a module's weights as they are now; None where that can't be told."""
    try:
        stored = AtomicCheckpointIO().load_checkpoint(path)["state_dict"]
    except UserError:
        return None
    weights = {name: weight for name, weight in (*model.named_parameters(), *model.named_buffers()) if name in stored}
    if not weights or any(weight.shape != stored[name].shape for name, weight in weights.items()):
        return None  # it is sharded, perhaps
    return all(torch.equal(weight.detach().cpu(), stored[name]) for name, weight in weights.items())


class _Checkpoint(ModelCheckpoint):
    """A checkpoint callback that works its key out once: Lightning asks for it several times a step."""

    @cached_property
    def state_key(self) -> str:
        """The key under which checkpoints hold its state."""
        return super().state_key


class BestCheckpoint(_Checkpoint):
    """Keeps the network of the best evaluation as `best.ckpt`, also where that was within an epoch.

    Args:
        folder: Where it is kept.
        monitor: The metric.
        mode: "max" if more is better, "min" if less is.
    """

    def __init__(self, folder: Path, monitor: str, mode: Literal["max", "min"]) -> None:
        super().__init__(
            folder,
            "best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    @property
    def _legacy_state_key(self) -> str:  # type: ignore[override]
        """The key under which earlier versions, which took a plain `ModelCheckpoint`, kept the state."""
        return self.state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1).replace(
            "'save_on_train_epoch_end': False", "'save_on_train_epoch_end': True"
        )


class LastCheckpoint(_Checkpoint):
    """Keeps the state to continue from as `last.ckpt`, at the end of every epoch.

    `save_last` of the other would write it only with a new best.

    Args:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)

    @property
    def _legacy_state_key(self) -> str:  # type: ignore[override]
        """The key under which earlier versions, which took a plain `ModelCheckpoint`, kept the state."""
        return self.state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)
