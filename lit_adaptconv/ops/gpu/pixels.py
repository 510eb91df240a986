"""From pixels to tiles: what a block of output pixels sees, one register a pixel of the window and thread.

A tile is a run of pixels of one channel, in order of image, row and column: neighbouring threads read neighbouring
pixels, and small images fill it as well as large ones.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu.tanh import tanh


@triton.jit
def place(p, height, width):
    """Image (in 64 bits), row and column of pixel `p`."""
    column = p % width
    above = p // width
    return (above // height).to(tl.int64), above % height, column


@triton.jit
def pixel(plane, y, x, valid, sizes, row, real: tl.constexpr):
    """Pixels (y, x) of a plane; zero outside."""
    inside = valid & (y >= 0) & (y < sizes.height) & (x >= 0) & (x < sizes.width)
    return tl.load(plane + (y * row + x), mask=inside, other=0.0).to(real)


@triton.jit
def window(plane, y, x, valid, sizes, row, height: tl.constexpr, width: tl.constexpr, real: tl.constexpr):
    """All pixels under the generator's window of output pixels at (y, x), row by row, as a tuple of tiles."""
    seen = ()
    for i in tl.static_range(height):
        for j in tl.static_range(width):
            at_y = y - sizes.window_y + i * sizes.dilation_y
            at_x = x - sizes.window_x + j * sizes.dilation_x
            seen += (pixel(plane, at_y, at_x, valid, sizes, row, real),)
    return seen


@triton.jit
def scalars(start, count: tl.constexpr):
    """`count` numbers from `start` on."""
    out = ()
    for s in tl.static_range(count):
        out += (tl.load(start + s),)
    return out


@triton.jit
def zeros(count: tl.constexpr, block: tl.constexpr, real: tl.constexpr):
    """`count` tiles of zeros."""
    zero = tl.zeros([block], real)
    out = ()
    for _ in tl.static_range(count):
        out += (zero,)
    return out


@triton.jit
def generate(seen, weights, bias, first: tl.constexpr, count: tl.constexpr, applies_tanh: tl.constexpr):
    """One tap of the kernels of a tile: from what it sees, and `count` weights from `first` on."""
    total = bias + weights[first] * seen[0]
    for s in tl.static_range(1, count):
        total += weights[first + s] * seen[s]
    if applies_tanh:
        total = tanh(total)
    return total


@triton.jit
def slope(kernel, under, grad, applies_tanh: tl.constexpr):
    """Gradient of what a kernel's tap was generated from, before the activation."""
    out = grad * under
    if applies_tanh:
        out = out * (1 - kernel * kernel)
    return out
