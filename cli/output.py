"""Standard output and error that may be closed, from the start or at any time: no command stops for that."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

from lit_adaptconv.text import visible

CLOSED = (errno.EPIPE, errno.EIO, errno.ECONNRESET)
"""What writing to a closed pipe, to a terminal that is gone, or to a closed connection answers."""

_failed: list[OSError] = []
"""Why something else could not be written, such as for a full disk."""


class _Output(io.FileIO):
    """A stream that goes to nowhere from the first write that fails."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in CLOSED:
                _failed.append(error)
            _lead_nowhere(self.fileno())
            return memoryview(data).nbytes


def survive_closed_output() -> None:
    """Let nothing that is printed in this process, and nothing that it starts, fail for where it is printed to.

    A stream that is closed from the start is opened to nowhere, so that no file gets its number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _lead_nowhere(number)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = _surviving(1, sys.stdout)
    sys.stderr = _surviving(2, sys.stderr)


def check_written() -> None:
    """Check, at a command's end, that what it has printed was written, unless nobody wanted it.

    Raises:
        OSError: It was not, as where the disk is full.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(ValueError):  # of a stream that somebody has closed
                stream.flush()
    if _failed:
        raise OSError(f"the output could not be written: {_failed[0].strerror}")


def print_error(error: object) -> None:
    """Print an error to standard error, in one line."""
    sys.stderr.write(f"adaptconv: error: {visible(' '.join(str(error).split()))}\n")


def _surviving(number: int, before: TextIO | None) -> TextIO:
    encoding, errors, by_line = "utf-8", "backslashreplace", True
    if isinstance(before, io.TextIOWrapper):
        if before.fileno() != number:
            return before
        before.flush()
        encoding, by_line = before.encoding, before.line_buffering
    raw = _Output(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=by_line or raw.isatty())


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    os.set_inheritable(number, True)
