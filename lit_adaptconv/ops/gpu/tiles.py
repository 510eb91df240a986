"""The tiles among which Triton measures, once for each kind of call; the choice is kept on disk.

All of a kernel's tiles give the same bits, so that a result does not depend on which one was fastest. Under the
interpreter there is one small tile, and nothing is measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from triton import Config

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
REGISTERS = 210  # of a thread's 255, for what a tile holds; the compiler needs some, and spills what exceeds them
KEY = [
    "magnitude",
    "group_out",
    "kernel_height",
    "kernel_width",
    "window_height",
    "window_width",
    "applies_tanh",
]
"""What a measurement holds for. `magnitude` is the number of bits of the number of pixels, so that a smaller last batch
is seldom measured anew."""

WARP = 32
SUM_BLOCK = 128  # pixels that are added as one tree in the weights' gradients, one a thread: fixed, as is the order
SUM_WARPS = SUM_BLOCK // WARP
COLLECT_BLOCK = 256  # with four warps, two pixels a thread

FORWARD = (
    [Config({"block": 256, "outputs": 2})]
    if INTERPRETED
    else [
        Config({"block": pixels * warps * WARP, "outputs": outputs}, num_warps=warps)
        for pixels, warps, outputs in ((1, 4, 1), (2, 4, 1), (4, 4, 1), (1, 4, 4), (2, 4, 2), (4, 4, 2), (8, 2, 1))
    ]
)
SPREAD = (
    [Config({"block": 256})]
    if INTERPRETED
    else [
        Config({"block": pixels * warps * WARP}, num_warps=warps)
        for pixels, warps in ((1, 4), (2, 4), (4, 4), (4, 2), (8, 2))
    ]
)
WEIGHTS = [Config({"taps_at_once": taps}, num_warps=SUM_WARPS) for taps in ((5,) if INTERPRETED else (1, 2, 3, 5, 9))]


def _pixels(config: Config) -> int:
    """Pixels of a tile that one thread holds."""
    pixels: int = config.kwargs["block"] // (WARP * config.num_warps)
    return pixels


def _fitting(configs: list[Config], registers: Callable[[Config], int], options: dict[str, Any]) -> list[Config]:
    """Leave out tiles that need more registers than there are; `registers` counts numbers of 32 bits."""
    words = options["real"].primitive_bitwidth // 32
    return [c for c in configs if registers(c) * words <= REGISTERS] or configs[:1]


def prune_forward(configs: list[Config], named: dict[str, Any], **options: Any) -> list[Config]:
    """Leave out tiles that overflow the registers, or have more output channels than a group."""
    window = options["window_height"] * options["window_width"]
    configs = [c for c in configs if c.kwargs["outputs"] <= options["group_out"]]
    # For each pixel of the window a number, its address, in two, and its mask.
    return _fitting(configs, lambda c: _pixels(c) * (4 * window + c.kwargs["outputs"] + 4), options)


def prune_spread(configs: list[Config], named: dict[str, Any], **options: Any) -> list[Config]:
    """Leave out tiles that overflow the registers."""
    window = options["window_height"] * options["window_width"]
    # For each pixel of the window a number, its sum, and a weight.
    return _fitting(configs, lambda c: _pixels(c) * (3 * window + 4), options)


def prune_weights(configs: list[Config], named: dict[str, Any], **options: Any) -> list[Config]:
    """Leave out tiles that overflow the registers, or have more taps than the kernel."""
    window = options["window_height"] * options["window_width"]
    taps = options["kernel_height"] * options["kernel_width"]
    configs = [c for c in configs if c.kwargs["taps_at_once"] <= taps]
    # For each tap and pixel of the window a sum and a weight, and for each pixel a number.
    return _fitting(configs, lambda c: (2 * c.kwargs["taps_at_once"] + 1) * (window + 2), options)
