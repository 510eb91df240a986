"""How a network for photographs begins on small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lit_adaptconv.errors import UserError

Stem = Literal["cifar", "imagenet"]

SMALL = 64


def choose_stem(stem: Stem | None, image_size: tuple[int, int]) -> Stem:
    """Return the stem that was asked for, or, for None, "cifar" where an image's shorter side is below 64 pixels."""
    return stem or ("cifar" if min(image_size) < SMALL else "imagenet")


def choose_stem_width(stem_width: int | None, widths: Sequence[int]) -> int:
    """Return the width that was asked for, or, for None, the first stage's.

    Raises:
        UserError: It is below 1.
    """
    if stem_width is not None and stem_width < 1:
        raise UserError(f"stem_width must be at least 1, got {stem_width}")
    return widths[0] if stem_width is None else stem_width
