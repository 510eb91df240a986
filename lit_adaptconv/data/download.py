"""Files of the known data sets: whether they are there, and how they are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_adaptconv.errors import UserError


def require_files(name: str, root: str, folder: Path, files: Sequence[str]) -> None:
    """Check that the files of data set `name` exist.

    Raises:
        UserError: one does not; says which were looked for, where, and which command fetches them.
    """
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise UserError(
            f"{name} not found: {folder} holds no {', no '.join(missing)}; "
            f"`adaptconv fit --data {name} --data.root {root} --data.download true` fetches it"
        )


def download_dataset(name: str, root: str) -> None:
    """Fetch data set `name` into `root` as torchvision does, which leaves alone what is already there.

    Raises:
        UserError: it cannot be fetched or written.
    """
    from torchvision import datasets  # takes a second to import

    try:
        getattr(datasets, name)(root, download=True)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} could not be downloaded into {root}: {reason}") from error
