"""Write files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lit_adaptconv.errors import UserError


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Whoever reads `path`, at any moment and after any crash, finds the old content or the new.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


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
