"""How the kernels cut a call into tiles: by its shape alone, so that a new shape compiles one form of each kernel.

All tiles of a kernel in float32 give the same bits. Under the interpreter there is one small tile of each.
"""

from __future__ import annotations

from typing import Any

from lit_adaptconv.ops.gpu.interpreter import INTERPRETED
from lit_adaptconv.ops.gpu.sizes import Extent, Sizes

Tile = dict[str, Any]
WARP = 32
REGISTERS = 200  # of a thread's 255, for what a tile holds; the compiler needs some, and spills what exceeds them
UNROLLED = 128  # products of taps and window's pixels up to which their loops are written out
SUM_BLOCK = 128  # pixels that are added as one tree in the weights' gradients, one a thread: fixed, as is the order
PROGRAMS = 256  # that keep a GPU busy with sums over pixels, where each needs most of the registers
TILES_EACH = 32  # that such a program adds at least, if there are as many: adding its threads takes as long as a few
STRIP = 4096  # input pixels of a strip in the one pass of a depthwise layer
ADD_BLOCK, ADD_ROWS = 16, 128  # numbers, and parts of each, that are added as one tile
COLLECT_BLOCK = 256  # with four warps, two pixels a thread
MATRIX_SUMS = 9 * 16 * 64  # that a program of the backward matrix kernel holds
MATRIX_OUTPUTS = 4  # for each input channel, from which on matrix units are faster, although they compute 16 at least


def _power(least: int) -> int:
    """The smallest power of two that is at least this."""
    return 1 << (least - 1).bit_length()


def threads(block: int, warps: int) -> Tile:
    """A tile of so many pixels, and its threads; the interpreter has none."""
    return {"block": block} if INTERPRETED else {"block": block, "num_warps": warps}


def forward(extent: Extent, sizes: Sizes, pixels: int, words: int) -> Tile:
    """A tile of the forward kernel; a number takes `words` registers."""
    outputs = 1 if extent.group_out == 1 else 2
    each = _fitting((8, 4, 2, 1), lambda n: n * words * (2 * sizes.seen + outputs + 4))
    while each > 1 and pixels * extent.groups * extent.group_out < each * 4 * WARP * 512 * outputs:
        each //= 2
    return {
        **threads(256 if INTERPRETED else each * 4 * WARP, 4),
        "outputs": outputs,
        "unrolled": sizes.taps * sizes.seen * outputs <= UNROLLED,
    }


def spread(extent: Extent, sizes: Sizes, words: int) -> Tile:
    """A tile of the kernel that spreads the gradient."""
    each = _fitting((4, 2, 1), lambda n: n * words * (3 * sizes.seen + 4))
    return {
        **threads(256 if INTERPRETED else each * 4 * WARP, 4),
        "merged": sizes.same and sizes.taps * sizes.seen <= UNROLLED,
    }


def weights(extent: Extent, sizes: Sizes, words: int) -> Tile:
    """A tile of the kernel of the weights' gradients."""
    taps = _fitting((9, 5, 3, 2, 1), lambda n: (2 * n + 1) * (sizes.seen + 2) * words)
    return {**threads(SUM_BLOCK, SUM_BLOCK // WARP), "taps_at_once": min(taps, sizes.taps)}


def is_depthwise(extent: Extent, sizes: Sizes, words: int) -> bool:
    """Whether the gradients of a depthwise layer fit in the registers of one pass."""
    numbers = 2 * sizes.taps * sizes.seen + 2 * (sizes.taps + sizes.seen)
    return extent.group_in == extent.group_out == 1 and numbers * words <= REGISTERS


def matrices(extent: Extent, sizes: Sizes) -> Tile:
    """The form of the packed generators, which both matrix kernels read."""
    blocks = _tap_blocks(extent, sizes)
    return {
        "taps": -(-sizes.taps // blocks) * blocks,
        "inner": max(16, _power(sizes.seen + 1)),
        "outer": max(16, _power(extent.group_out)),
    }


def matrix_forward(extent: Extent, sizes: Sizes) -> Tile:
    """A tile of the forward matrix kernel."""
    return {**threads(64 if INTERPRETED else 128, 4), "outputs": _outputs(extent)}


def matrix_backward(extent: Extent, sizes: Sizes) -> Tile:
    """A tile of the backward matrix kernel."""
    outputs = _outputs(extent)
    return {
        **threads(64 if INTERPRETED or outputs > 16 or sizes.seen > 15 else 128, 4),
        "outputs": outputs,
        "taps_at_once": matrices(extent, sizes)["taps"] // _tap_blocks(extent, sizes),
        **({} if INTERPRETED else {"num_stages": 2}),  # with three, it takes longer to compile
    }


def _outputs(extent: Extent) -> int:
    """Output channels of a tile."""
    return min(max(16, _power(extent.group_out)), 64)


def _tap_blocks(extent: Extent, sizes: Sizes) -> int:
    """In how many blocks the taps are gone through, so that their sums fit in registers."""
    inner = max(16, _power(sizes.seen + 1))
    return -(-sizes.taps // max(1, MATRIX_SUMS // (inner * _outputs(extent))))


def strips(extent: Extent, sizes: Sizes) -> dict[str, int]:
    """Cut an image into strips of rows, of some thousand pixels each.

    Returns:
        The number of strips, their rows, how far what an output pixel sees reaches above and below it, and how many
        output pixels see a strip at most.
    """
    kernel_end = (sizes.kernel_height - 1) * sizes.dilation_y - sizes.kernel_y
    window_end = (sizes.window_height - 1) * sizes.dilation_y - sizes.window_y
    above, below = max(sizes.kernel_y, sizes.window_y, 0), max(kernel_end, window_end, 0)
    rows = min(extent.height, max(-(-STRIP // extent.width), 4 * (above + below)))
    count = -(-extent.height // rows)
    seeing = (rows + above + below) // extent.stride_y + 2
    in_last = extent.out_height - max(0, ((count - 1) * rows - below) // extent.stride_y)
    area = extent.out_width * (extent.out_height if count == 1 else max(seeing, in_last))
    return {"strips": count, "rows": rows, "above": above, "below": below, "area": area}


def _fitting(choices: tuple[int, ...], registers: Any) -> int:
    """The first, largest choice that needs no more registers than there are, else the last."""
    return next((n for n in choices if registers(n) <= REGISTERS), choices[-1])
