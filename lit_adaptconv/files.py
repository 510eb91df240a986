"""Write files whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Whoever reads `path`, at any moment and after any crash, finds the old content or the new. The temporary file has
    a name that no other thread, process or host can have, and is gone when writing fails; a killed process leaves one
    that matches `.*.tmp`.

    Raises:
        OSError: It cannot be written, whatever `write` makes of that.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")  # without the target's name, which may be as long as any
    try:
        with temporary.open("xb") as file:
            try:
                write(file)
            except Exception as error:
                raise (_of_the_system(error) or error) from None
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _of_the_system(error: BaseException) -> OSError | None:
    """The system's own error behind one of a library, such as PyTorch's on a full disk."""
    at: BaseException | None = error
    while at is not None and not isinstance(at, OSError):
        at = at.__cause__ or at.__context__
    return at


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))
