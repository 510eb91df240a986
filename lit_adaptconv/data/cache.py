"""Image files are decoded once: their pixels are kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from lit_adaptconv.data.decode import Pixels, decode
from lit_adaptconv.data.listing import ImageFile

VERSION = 1  # of what the cached pixels mean
PATIENCE = 1.0  # seconds of decoding before a progress bar is shown


def cached_images(files: Sequence[ImageFile], pixels: Pixels) -> NDArray[np.uint8]:
    """Return the pixels of `files`, shape (N, channels, height, width), from the cache if it has them.

    A cache file belongs to the names, sizes and times of change of all files, and to `pixels`; a damaged one is made
    again. Where the cache cannot be written, a warning says so.

    Raises:
        UserError: an image cannot be decoded.
    """
    path = cache_path(files, pixels)
    images = read(path, (len(files), pixels.channels, pixels.height, pixels.width))
    if images is None:
        images = decode_all(files, pixels)
        try:
            write(path, images)
        except OSError as error:
            warnings.warn(f"decoded images cannot be kept in {path.parent}: {error.strerror or error}", stacklevel=2)
    return images


def cache_path(files: Sequence[ImageFile], pixels: Pixels) -> Path:
    """Return where the pixels of `files` are kept."""
    identity = [VERSION, astuple(pixels), [(file.name, file.size, file.modified) for file in files]]
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "lit_adaptconv" / f"{fingerprint}.npz"


def read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the array in `path`, or None if there is none or it is damaged (zip files carry a checksum)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images: NDArray[np.uint8] = archive["images"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def write(path: Path, images: NDArray[np.uint8]) -> None:
    """Write the array whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez(file, images=images)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise


def decode_all(files: Sequence[ImageFile], pixels: Pixels) -> NDArray[np.uint8]:
    """Decode every file, on all cores, with a progress bar if that takes a while."""
    images = np.empty((len(files), pixels.channels, pixels.height, pixels.width), np.uint8)
    began = time.monotonic()
    progress = Progress("decoding images", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    silent = getattr(rank_zero_only, "rank", 0) != 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads: PIL decodes without the interpreter lock
        try:
            decoded = pool.map(lambda file: decode(file.path, pixels), files)
            task = progress.add_task("", total=len(files))
            for index, image in enumerate(decoded):
                images[index] = image
                if not silent and time.monotonic() - began > PATIENCE:
                    progress.start()
                progress.update(task, completed=index + 1)
        finally:
            if progress.live.is_started:  # else it would print an empty line
                progress.stop()
            pool.shutdown(cancel_futures=True)
    return images
