"""From image files to uint8 pixels of known channels and size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from lit_adaptconv.errors import UserError

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
NO_IMAGES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
"""Formats that PIL knows by name alone, or reads with a program of someone else's."""
MOST_NAMED = 100
"""Broken images that an error names."""
PATIENCE = 1.0
"""Seconds of work before a progress bar is shown."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pixels:
    """What every image is turned into.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        height: in pixels.
        width: in pixels.
        resize: whether an image of another size is scaled to cover this one and cropped at the centre, which keeps its
            proportions; otherwise it is an error.
        grey_bits: how many bits the values of an image with more than 8 bits of grey use; 0 where none was seen.
    """

    channels: int
    height: int
    width: int
    resize: bool
    grey_bits: int

    @property
    def nbytes(self) -> int:
        """Bytes of one image."""
        return self.channels * self.height * self.width


class UnreadableImageError(UserError):
    """An image file that cannot be read, whatever it is to be turned into."""


@cache
def image_formats() -> list[str]:
    """Names of the image formats that PIL reads."""
    Image.init()
    return [name for name in Image.OPEN if name not in NO_IMAGES]


@contextmanager
def reading(path: str) -> Iterator[Image.Image]:
    """Open an image; its pixels are read when they are asked for.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    try:
        with Image.open(path, formats=image_formats()) as image:
            yield image
    except Exception as error:  # decoders raise whatever they like on a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"{path}: not a readable image ({reason})") from error


def open_image(path: str) -> Image.Image:
    """Read an image whole, turned upright as its EXIF orientation says.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    with reading(path) as image:
        if image.mode == "F":
            raise ValueError("floating-point pixels, whose white is unknown; convert it to 8 bits")
        image.load()
        return ImageOps.exif_transpose(image)


def grey_bits(paths: Sequence[str]) -> int:
    """How many bits images with more than 8 bits of grey use: cameras store 10, 12 or 14 bits in 16.

    Returns:
        An even number from 8 on; 0 where no image has more than 8 bits.

    Raises:
        UnreadableImageError: one cannot be read.
    """
    bits = 0
    for path in paths:
        with reading(path) as image:
            if image.mode.startswith("I"):
                bits = max(bits, 8, int(np.asarray(image).max()).bit_length())
    return bits + bits % 2


def decode(path: str, pixels: Pixels, crop: Callable[[Image.Image], Image.Image] | None = None) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        path: the file.
        pixels: what to turn it into.
        crop: how to get an image of that size out of any; None: as `pixels.resize` says.

    Returns:
        Pixels, shape (channels, height, width).

    Raises:
        UserError: the image cannot be read, or its size is another and must not be.
    """
    image = to_8_bits(open_image(path), pixels.grey_bits).convert("L" if pixels.channels == 1 else "RGB")
    size = (pixels.width, pixels.height)
    if crop is not None:
        image = crop(image)
    elif image.size != size and not pixels.resize:
        raise UserError(
            f"{path}: the image is {image.height}×{image.width} pixels, the first one is "
            f"{pixels.height}×{pixels.width}; --data.image_size SIZE resizes them all"
        )
    elif image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if pixels.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def to_8_bits(image: Image.Image, grey_bits: int) -> Image.Image:
    """Take the upper 8 of so many bits of grey (0: 16), and drop transparency, unless the drawing is in it alone."""
    if image.mode.startswith("I"):  # PIL would clip 16 bits at 255
        values = np.asarray(image).astype(np.int64) >> (grey_bits or 16) - 8
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    colours, alpha = np.split(np.asarray(image), [3], axis=2)
    visible = colours[alpha[..., 0] > 0]
    if len(visible) and (visible == visible[0]).all():  # drawn in one colour: on white, or on black if it is light
        paper = 255 if visible[0].mean() < 128 else 0
        mixed = (alpha * visible[0].astype(float) + (255.0 - alpha) * paper) / 255
        return Image.fromarray(mixed.round().astype(np.uint8))
    return image


def on_all_cores(work: Callable[[str], Result], paths: Sequence[str], title: str) -> Iterator[Result]:
    """Yield `work` of every path, in order, with a progress bar if that takes a while."""
    began = time.monotonic()
    progress = Progress(title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    silent = getattr(rank_zero_only, "rank", 0) != 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads: PIL decodes without the interpreter lock
        try:
            task = progress.add_task("", total=len(paths))
            for result in pool.map(work, paths):
                if not silent and time.monotonic() - began > PATIENCE:
                    progress.start()
                progress.advance(task)
                yield result
        finally:
            if progress.live.is_started:  # else it would print an empty line
                progress.stop()
            pool.shutdown(cancel_futures=True)


@contextmanager
def naming_all_broken(paths: Sequence[str]) -> Iterator[None]:
    """Where one image cannot be read, look at all of them, and name every one that cannot.

    Raises:
        UserError: one cannot be read.
    """
    try:
        yield
    except UnreadableImageError as error:
        broken = [fault for fault in on_all_cores(_fault, paths, "looking for broken images") if fault]
        if len(broken) < 2:
            raise
        rest = f"; and {len(broken) - MOST_NAMED:,} more" if len(broken) > MOST_NAMED else ""
        named = "; ".join(broken[:MOST_NAMED])
        raise UserError(f"{len(broken):,} images cannot be read: {named}{rest}") from error


def _fault(path: str) -> str | None:
    try:
        open_image(path)
    except UnreadableImageError as error:
        return str(error)
    return None
