"""A writer of files for processes of their own: it imports no PyTorch, so that they start at once."""

from __future__ import annotations

from pathlib import Path

from lit_adaptconv.files import write_atomically


def write_versions(file: Path, writer: int, versions: int) -> None:
    for version in range(versions):
        write_atomically(file, lambda stream: [stream.write(b"%d:%d\n" % (writer, version)) for _ in range(500)])  # noqa: B023
