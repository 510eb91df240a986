"""Write files whole or not at all, and read none that is no file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it to `path`.

    Whoever reads `path`, at any moment and after any crash, finds the old content or the new. The temporary file has
    a name that no other thread, process or host can have, and is gone when writing fails; a killed process leaves one
    that matches `.*.tmp`, which the next one that writes in this folder removes.

    Raises:
        OSError: It cannot be written, whatever `write` makes of that.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_what_the_killed_left(target.parent)
    with _temporary(target.parent) as (file, temporary):
        try:
            write(file)
        except Exception as error:
            raise (_of_the_system(error) or error) from None
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, target)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file, locked as long as somebody writes it, and gone afterwards unless it was renamed."""
    while True:
        path = folder / f".{uuid.uuid4().hex}.tmp"  # without the target's name, which may be as long as any
        file = path.open("xb")
        try:
            if not _lock(file, wait=True) or path.exists():
                break
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        file.close()  # it was taken for one of a killed process before it was locked
    try:
        with file:
            yield file, path
    finally:
        path.unlink(missing_ok=True)


def _remove_what_the_killed_left(folder: Path) -> None:
    """Remove temporary files that no process holds any longer."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError), open_regular(folder / name) as file:
                    if _lock(file, wait=False):
                        os.unlink(folder / name)


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock a file; return whether that succeeded, which it does not where there are no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def _of_the_system(error: BaseException) -> OSError | None:
    """The system's own error behind one of a library, such as PyTorch's on a full disk."""
    at: BaseException | None = error
    while at is not None and not isinstance(at, OSError):
        at = at.__cause__ or at.__context__
    return at


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def read_text(path: str | os.PathLike[str]) -> str:
    """Read UTF-8 text from a regular file.

    Raises:
        OSError: It can't be read, or it is a pipe or a device, which might never end.
    """
    with open_regular(path) as file:
        return file.read().decode()


def open_regular(path: str | os.PathLike[str], mode: Literal["rb", "ab"] = "rb") -> BinaryIO:
    """Open a regular file, to read it or to add to it; a lock is a file that is added to.

    Raises:
        OSError: It can't be opened, or it is a pipe or a device, which might never open or end.
    """
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    file = open(path, mode, opener=lambda name, flags: os.open(name, flags | nonblocking, 0o666))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file
