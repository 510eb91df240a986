"""What makes two trials comparable: the same code, the same implementation of the operator, and the same data."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

import lit_adaptconv
from lit_adaptconv.data import HuggingFace, ImageFolder
from lit_adaptconv.data.shards import list_images
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.ops.choice import implementation
from lit_adaptconv.sweep.trial import SERIES

PACKAGE = Path(next(iter(lit_adaptconv.__path__)))

NUMBERS = ("data", "functional.py", "layers", "measure/budget.py", "measure/count.py", "models", "ops", "train")
"""Parts of the package on which a trial's numbers depend; the others start trials, or show what they found."""

LIBRARIES = ("lit_adaptconv", "torch", "lightning", "builtins")
"""Packages whose classes are known by the version or the fingerprint of the package."""


def code_version(settings: Mapping[str, Any], cpu: bool = False) -> str:
    """Name the code that an arm's trials run by a fingerprint.

    The fingerprint covers the parts of the package that `NUMBERS` names, the files of the user's own classes and conv
    kinds, and the implementation of the adaptive operator.

    Args:
        settings: The arm's settings, see `settings.arm_settings`.
        cpu: Whether trials see no GPU.
    """
    files = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    files = {name: path for name, path in files.items() if name.startswith(NUMBERS)}
    for thing in _named(settings):
        files |= _own_files(thing)
    digest = hashlib.sha256(_implementation(settings["trainer"].get("accelerator"), cpu).encode())
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return f"{SERIES}+{digest.hexdigest()[:8]}"


def _named(settings: Any) -> Iterator[Any]:
    """The classes and conv kinds that settings name, at any depth."""
    if isinstance(settings, list):
        for value in settings:
            yield from _named(value)
    if isinstance(settings, dict):
        module, _, name = str(settings.get("class_path", "")).rpartition(".")
        if (found := getattr(sys.modules.get(module), name, None)) is not None:  # what is used has been imported
            yield found
        if isinstance(settings.get("kind"), str) and "kind_options" in settings:
            yield conv_kind(settings["kind"])
        for value in settings.values():
            yield from _named(value)


def _own_files(thing: Any) -> dict[str, Path]:
    """The files of a class and its bases, or of a function, by their modules; without those of known packages."""
    if isinstance(thing, partial):
        parts = [thing.func, *filter(callable, thing.keywords.values())]
        return {module: file for part in parts for module, file in _own_files(part).items()}
    modules = {part.__module__ for part in (inspect.getmro(thing) if inspect.isclass(thing) else [thing])}
    own = (module for module in modules if module.split(".")[0] not in (*LIBRARIES, *sys.stdlib_module_names))
    files = ((module, getattr(sys.modules[module], "__file__", None)) for module in own)
    return {module: Path(file) for module, file in files if file is not None and file.endswith(".py")}


def _implementation(accelerator: Any, cpu: bool) -> str:
    """The implementation that computes the adaptive operator in trials that run on this machine."""
    gpu = not cpu and torch.cuda.is_available() and accelerator in (None, "auto", "gpu", "cuda")
    try:
        return str(implementation("cuda" if gpu else "mps" if accelerator == "mps" else "cpu", torch.float32))
    except ValueError as error:  # of the environment variable
        raise UserError(str(error)) from None


def data_fingerprint(data: pl.LightningDataModule) -> str | None:
    """Fingerprint of a user's own images: names and sizes of the files, wherever the folder stands, or else the labels.

    Returns:
        None for a data set that its class and arguments define.
    """
    digest = hashlib.sha256()
    if isinstance(data, HuggingFace):
        digest.update(data.labels.numpy().tobytes())
        return digest.hexdigest()[:16]
    if not isinstance(data, ImageFolder):
        return None
    for file in list_images(data.root).files:
        digest.update(f"{file.name}\0{file.size}\0".encode())
    return digest.hexdigest()[:16]
