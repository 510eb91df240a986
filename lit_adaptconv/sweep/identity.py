"""What makes two trials comparable: the same code, and the same data."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
from collections.abc import Iterable
from pathlib import Path

import lit_adaptconv
from lit_adaptconv.data import ImageData, ImageFolder
from lit_adaptconv.data.listing import list_folder

NOT_NUMBERS = ("benchmark", "export", "report", "sweep")
"""Parts of the package that start trials, read or export their results or time layers, but do not change a trial."""


def code_version(class_paths: Iterable[str] = ()) -> str:
    """Name the code that trials run: the package's version and a fingerprint of its source files.

    The fingerprint covers everything in `lit_adaptconv` but what `NOT_NUMBERS` names, and the files of the
    user's own classes, such as a backbone.

    Args:
        class_paths: Dotted names of the classes that a plan uses.
    """
    package = Path(next(iter(lit_adaptconv.__path__)))
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    files = {name: path for name, path in files.items() if name.split("/")[0] not in NOT_NUMBERS}
    for path in class_paths:
        if (module := path.rpartition(".")[0]).split(".")[0] not in ("lit_adaptconv", "torch", "lightning"):
            files[module] = Path(inspect.getfile(importlib.import_module(module)))
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return f"{importlib.metadata.version('lit-adaptconv')}+{digest.hexdigest()[:8]}"


def data_fingerprint(data: ImageData) -> str | None:
    """Fingerprint of a user's own images: the names and sizes of the files, wherever the folder stands.

    Returns:
        None for a data set that its class and arguments define.
    """
    if not isinstance(data, ImageFolder):
        return None
    digest = hashlib.sha256()
    for file in list_folder(data.root).files:
        digest.update(f"{file.name}\0{file.size}\0".encode())
    return digest.hexdigest()[:16]
