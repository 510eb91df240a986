"""Image files are decoded once: their pixels are kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lit_adaptconv.data.decode import Encoded, Pixels, decode, naming_all_broken, on_all_cores
from lit_adaptconv.data.listing import ImageFile
from lit_adaptconv.files import write_atomically

VERSION = 2  # of what the cached pixels mean
DIGEST = 32  # bytes at the start of a cache file, the SHA-256 of the pixels that follow


def cached_images(files: Sequence[ImageFile], pixels: Pixels) -> NDArray[np.uint8]:
    """Return the pixels of `files`, shape (N, channels, height, width), from the cache if it has them.

    A cache file belongs to these very files, as they are now, and to `pixels`; a damaged one is made again. Where the
    cache cannot be written, a warning says so.

    Raises:
        UserError: an image cannot be decoded.
    """
    path = cache_path(files, pixels)
    shape = (len(files), pixels.channels, pixels.height, pixels.width)
    if (images := read(path, shape)) is not None:
        return images
    images = decoded([file.encoded for file in files], pixels)
    try:
        write_atomically(path, partial(write, images))
    except OSError as error:
        warnings.warn(f"decoded images cannot be kept in {path.parent}: {error.strerror or error}", stacklevel=2)
    return images


def decoded(encoded: Sequence[Encoded], pixels: Pixels) -> NDArray[np.uint8]:
    """Decode images, shape (N, channels, height, width).

    Raises:
        UserError: an image cannot be decoded.
    """
    images = np.empty((len(encoded), pixels.channels, pixels.height, pixels.width), np.uint8)
    with naming_all_broken(encoded):
        for index, image in enumerate(on_all_cores(partial(decode, pixels=pixels), encoded, "decoding images")):
            images[index] = image
    return images


def cache_path(files: Sequence[ImageFile], pixels: Pixels) -> Path:
    """Return where the pixels of `files` are kept."""
    images = [(file.name, file.size, *file.identity) for file in files]
    identity = [VERSION, astuple(pixels), os.path.realpath(files[0].root), images]
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "lit_adaptconv" / f"{fingerprint}.pixels"


def read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the array in `path`, or None if there is none or it is damaged."""
    try:
        if not path.is_file() or path.stat().st_size != DIGEST + math.prod(shape):
            return None
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    digest, images = content[:DIGEST], content[DIGEST:]
    return images.reshape(shape) if hashlib.sha256(images.data).digest() == digest.tobytes() else None


def write(images: NDArray[np.uint8], file: BinaryIO) -> None:
    """Write what `read` reads."""
    content = images.ravel().data
    file.write(hashlib.sha256(content).digest())
    file.write(content)
