"""From an image file to uint8 pixels of known channels and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lit_adaptconv.errors import UserError

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Pixels:
    """What every image is turned into.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        height: in pixels.
        width: in pixels.
        resize: whether an image of another size is scaled to cover this one and cropped at the centre, which keeps its
            proportions; otherwise it is an error.
    """

    channels: int
    height: int
    width: int
    resize: bool

    @property
    def nbytes(self) -> int:
        """Bytes of one image."""
        return self.channels * self.height * self.width


def open_image(path: str) -> Image.Image:
    """Read an image whole, turned upright as its EXIF orientation says.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # decoders raise whatever they like on a broken file
        raise UserError(
            f"{path}: not a readable image ({' '.join(str(error).split()) or type(error).__name__})"
        ) from error


def decode(path: str, pixels: Pixels, crop: Callable[[Image.Image], Image.Image] | None = None) -> NDArray[np.uint8]:
    """Decode one image.

    Args:
        path: the file.
        pixels: what to turn it into.
        crop: how to get an image of that size out of any; None: as `pixels.resize` says.

    Returns:
        Pixels, shape (channels, height, width). Transparency is dropped, 16 bits are cut to the upper 8.

    Raises:
        UserError: the image cannot be read, or its size is another and must not be.
    """
    image = in_mode(open_image(path), "L" if pixels.channels == 1 else "RGB", path)
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


def in_mode(image: Image.Image, mode: str, path: str) -> Image.Image:
    """Convert an image to 8 bits of grey (L) or RGB."""
    if image.mode.startswith("I"):  # PIL would clip 16 bits at 255
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise UserError(f"{path}: the image has floating-point pixels, whose white is unknown; convert it to 8 bits")
    return image if image.mode == mode else image.convert(mode)
