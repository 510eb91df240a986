"""How a network for photographs begins on small images."""

from __future__ import annotations

from typing import Literal

Stem = Literal["cifar", "imagenet"]

SMALL = 64


def choose_stem(stem: Stem | None, image_size: tuple[int, int]) -> Stem:
    """Return the stem that was asked for, or, for None, "cifar" where an image's shorter side is below 64 pixels."""
    return stem or ("cifar" if min(image_size) < SMALL else "imagenet")
