"""From pixels to tiles: what a block of output pixels sees, one register a pixel of the window and thread.

A tile is a run of pixels of one channel, in order of image, row and column: neighbouring threads read neighbouring
pixels, and small images fill it as well as large ones.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment,misc"

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
def pixel(plane, y, x, valid, extent: tl.constexpr, strides, real: tl.constexpr):
    """Pixels (y, x) of a plane; zero outside."""
    inside = valid & (y >= 0) & (y < extent.height) & (x >= 0) & (x < extent.width)
    return tl.load(plane + (y * strides.row + x * strides.column), mask=inside, other=0.0).to(real)


@triton.jit
def under_tap(plane, y, x, t, valid, extent: tl.constexpr, sizes: tl.constexpr, strides, real: tl.constexpr):
    """Pixels under tap `t` of the kernels of output pixels at (y, x)."""
    at_y = y - sizes.kernel_y + t // sizes.kernel_width * sizes.dilation_y
    at_x = x - sizes.kernel_x + t % sizes.kernel_width * sizes.dilation_x
    return pixel(plane, at_y, at_x, valid, extent, strides, real)


@triton.jit
def window(plane, y, x, valid, extent: tl.constexpr, sizes: tl.constexpr, strides, real: tl.constexpr):
    """All pixels under the generator's window of output pixels at (y, x), row by row, as a tuple of tiles."""
    height: tl.constexpr = sizes.window_height
    width: tl.constexpr = sizes.window_width
    seen = ()
    for i in tl.static_range(height):
        for j in tl.static_range(width):
            at_y = y - sizes.window_y + i * sizes.dilation_y
            at_x = x - sizes.window_x + j * sizes.dilation_x
            seen += (pixel(plane, at_y, at_x, valid, extent, strides, real),)
    return seen


@triton.jit
def uniform(start, count: tl.constexpr, block: tl.constexpr, real: tl.constexpr):
    """`count` tiles, each of one number: those from `start` on."""
    out = ()
    for s in tl.static_range(count):
        out += (tl.full([block], tl.load(start + s), real),)
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
def _in_pairs(parts, half: tl.constexpr):
    out = ()
    for s in tl.static_range(half):
        out += (tl.join(parts[s], parts[s + half]),)
    return out


@triton.jit
def beside(tiles, first: tl.constexpr, count: tl.constexpr, size: tl.constexpr, levels: tl.constexpr):
    """`count` tiles from `first` on as one, `(block, size)`, padded by zeros; `size` is two to the power of `levels`.

    One store of many tiles compiles in a fraction of the time that a store of each takes.
    """
    zero = tl.zeros_like(tiles[first])
    parts = ()
    for s in tl.static_range(size):
        if s < count:
            parts += (tiles[first + s],)
        else:
            parts += (zero,)
    for level in tl.static_range(levels):
        parts = _in_pairs(parts, size >> (level + 1))
    return tl.reshape(parts[0], [tiles[first].shape[0], size])


@triton.jit
def generate(seen, weights, bias, sizes: tl.constexpr, how: tl.constexpr):
    """One tap of the kernels of a tile: from what it sees, and the weights for that."""
    count: tl.constexpr = sizes.seen
    total = bias
    for s in tl.static_range(count):
        total = tl.fma(weights[s], seen[s], total)
    if sizes.applies_tanh:
        total = tanh(total, how)
    return total


@triton.jit
def slope(kernel, under, grad, sizes: tl.constexpr):
    """Gradient of what a kernel's tap was generated from, before the activation."""
    out = grad * under
    if sizes.applies_tanh:
        out = out * (1 - kernel * kernel)
    return out
