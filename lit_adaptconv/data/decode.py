"""From image files to uint8 pixels of known channels and size."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, Protocol, TypeVar

import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from lit_adaptconv.errors import UserError

GREY = ("1", "L", "LA", "La")
DARKEST = 16  # of 256: what is darker everywhere used fewer bits than it has
ONE_COLOUR = 32  # colours that differ by less in every channel are one, but for what compression did to it
NO_IMAGES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
"""Formats that PIL knows by name alone, or reads with a program of someone else's."""
MOST_NAMED = 100
"""Broken images that an error names."""
PATIENCE = 1.0
"""Seconds of work before a progress bar is shown."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Content(Protocol):
    """An encoded image that is no file of its own; as text, it is what errors call it."""

    def open(self) -> str | BinaryIO:
        """What PIL reads."""
        ...


Encoded = str | Content
"""An encoded image: the path of a file, or other content."""


@dataclass(frozen=True)
class Pixels:
    """What every image is turned into.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        height: in pixels.
        width: in pixels.
        resize: whether an image of another size is scaled to cover this one and cropped at the centre, which keeps its
            proportions; otherwise it is an error.
        bit_depth: how many bits the values of grey images with more than 8 bits use; 0 where none was seen.
    """

    channels: int
    height: int
    width: int
    resize: bool
    bit_depth: int

    @property
    def nbytes(self) -> int:
        """Bytes of one image."""
        return self.channels * self.height * self.width


def checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width of images, given as both or as one number; None where they are not given.

    Raises:
        UserError: one is below 1.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and min(size) < 1:
        raise UserError(f"image_size must be at least 1 pixel, got {image_size}")
    return size


def checked_channels(in_channels: int | None) -> int | None:
    """The channels of images; None where they are not given.

    Raises:
        UserError: they are neither grey nor colour.
    """
    if in_channels not in (None, 1, 3):
        raise UserError(f"in_channels must be 1 (grey) or 3 (colour), got {in_channels}")
    return in_channels


def pixels_like(first: Image.Image, size: tuple[int, int] | None, channels: int | None, bit_depth: int) -> Pixels:
    """What to turn images into: this height and width, and these channels; where they are None, those of the first."""
    height, width = size or (first.height, first.width)
    return Pixels(channels or (1 if first.mode in GREY else 3), height, width, size is not None, bit_depth)


class UnreadableImageError(UserError):
    """An image file that cannot be read, whatever it is to be turned into."""


@cache
def image_formats() -> list[str]:
    """Names of the image formats that PIL reads."""
    Image.init()
    return [name for name in Image.OPEN if name not in NO_IMAGES]


@contextmanager
def reading(encoded: Encoded) -> Iterator[Image.Image]:
    """Open an image; its pixels are read when they are asked for.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    try:
        with Image.open(encoded if isinstance(encoded, str) else encoded.open(), formats=image_formats()) as image:
            yield image
    except Exception as error:  # decoders raise whatever they like on a broken file
        said = re.sub(r" <_io\.BytesIO [^>]*>", "", str(error).replace(f" {str(encoded)!r}", ""))
        reason = " ".join(said.split()) or type(error).__name__
        raise UnreadableImageError(f"{encoded}: not a readable image ({reason})") from error


def open_image(encoded: Encoded, bit_depth: int = 16) -> Image.Image:
    """Read an image whole in 8 bits, turned upright as its EXIF orientation says.

    Args:
        encoded: the image.
        bit_depth: how many bits the values of grey images with more than 8 bits use, of which the upper 8 are taken.

    Raises:
        UnreadableImageError: it cannot be read.
    """
    with reading(encoded) as image:
        if image.mode == "F":
            raise ValueError("floating-point pixels, whose white is unknown; convert it to 8 bits")
        deep_colours = ";16" in str(getattr(image, "tile", ""))  # PIL takes the upper 8 bits
        image = ImageOps.exif_transpose(image)
        if deep_colours and np.asarray(image).max() < DARKEST:
            raise ValueError("16 bits of colour, of which the upper ones are not used; convert it to 8 bits")
        if image.mode.startswith("I"):  # PIL would clip them at 255
            values = np.asarray(image).astype(np.int64) >> bit_depth - 8
            image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        return image


def find_bit_depth(images: Sequence[Encoded]) -> int:
    """How many bits grey images with more than 8 bits use: cameras store 10, 12 or 14 bits in 16.

    Returns:
        An even number from 8 on; 0 where no image has more than 8 bits.

    Raises:
        UnreadableImageError: one cannot be read.
    """
    bits = 0
    for encoded in images:
        with reading(encoded) as image:
            if image.mode.startswith("I"):
                bits = max(bits, 8, int(np.asarray(image).max()).bit_length())
    return bits + bits % 2


def decode(
    encoded: Encoded, pixels: Pixels, crop: Callable[[Image.Image], Image.Image] | None = None
) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        encoded: the image.
        pixels: what to turn it into.
        crop: how to get an image of that size out of any; None: as `pixels.resize` says.

    Returns:
        Pixels, shape (channels, height, width).

    Raises:
        UserError: the image cannot be read, or its size is another and must not be.
    """
    return to_array(open_image(encoded, pixels.bit_depth or 16), pixels, str(encoded), crop)


def to_array(
    image: Image.Image, pixels: Pixels, name: str, crop: Callable[[Image.Image], Image.Image] | None = None
) -> NDArray[np.uint8]:
    """Turn an image into pixels.

    Args:
        image: the image, in 8 bits.
        pixels: what to turn it into.
        name: what an error calls it.
        crop: how to get an image of that size out of any; None: as `pixels.resize` says.

    Returns:
        Pixels, shape (channels, height, width).

    Raises:
        UserError: its size is another and must not be.
    """
    image = without_transparency(image).convert("L" if pixels.channels == 1 else "RGB")
    size = (pixels.width, pixels.height)
    if crop is not None:
        image = crop(image)
    elif image.size != size and not pixels.resize:
        raise UserError(
            f"{name}: the image is {image.height}×{image.width} pixels, the first one is "
            f"{pixels.height}×{pixels.width}; --data.image_size SIZE resizes them all"
        )
    elif image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if pixels.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def without_transparency(image: Image.Image) -> Image.Image:
    """Drop transparency; where the colours that are seen hardly differ, the drawing is in it, and is laid on paper."""
    if not image.has_transparency_data:
        return image
    colours, alpha = np.split(np.asarray(image.convert("RGBA")).astype(float), [3], axis=2)
    seen = colours[alpha[..., 0] > 0]
    if not len(seen) or np.ptp(seen, axis=0).max() > ONE_COLOUR:
        return image
    paper = 255 if seen.mean() < 128 else 0
    return Image.fromarray(((alpha * colours + (255 - alpha) * paper) / 255).round().astype(np.uint8))


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """Yield `work` of every item, in order, with a progress bar if that takes a while."""
    began = time.monotonic()
    progress = Progress(title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    silent = getattr(rank_zero_only, "rank", 0) != 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads: PIL decodes without the interpreter lock
        try:
            task = progress.add_task("", total=len(items))
            for result in pool.map(work, items):
                if not silent and time.monotonic() - began > PATIENCE:
                    progress.start()
                progress.advance(task)
                yield result
        finally:
            if progress.live.is_started:  # else it would print an empty line
                progress.stop()
            pool.shutdown(cancel_futures=True)


@contextmanager
def naming_all_broken(images: Sequence[Encoded]) -> Iterator[None]:
    """Where one image cannot be read, look at all of them, and name every one that cannot.

    Raises:
        UserError: one cannot be read.
    """
    try:
        yield
    except UnreadableImageError as error:
        broken = [fault for fault in on_all_cores(_fault, images, "looking for broken images") if fault]
        if len(broken) < 2:
            raise
        rest = f"; and {len(broken) - MOST_NAMED:,} more" if len(broken) > MOST_NAMED else ""
        named = "; ".join(broken[:MOST_NAMED])
        raise UserError(f"{len(broken):,} images cannot be read: {named}{rest}") from error


def _fault(encoded: Encoded) -> str | None:
    try:
        open_image(encoded)
    except UnreadableImageError as error:
        return str(error)
    return None
