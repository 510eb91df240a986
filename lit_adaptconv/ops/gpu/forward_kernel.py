"""The forward kernel: a program makes a tile of a few output channels of one group."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu.pixels import generate, place, under_tap, uniform, window, zeros


@triton.jit
def forward_kernel(
    x,
    weight,
    generator_bias,
    bias,
    out,
    pixels,
    strides,
    out_strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    biased: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
    outputs: tl.constexpr,
    unrolled: tl.constexpr,
):
    """Sum over input channels and taps, in this order whatever the tile: every tile gives the same bits."""
    parts: tl.constexpr = (extent.group_out + outputs - 1) // outputs
    taps: tl.constexpr = sizes.taps
    program = tl.program_id(0)
    first = program % parts * outputs
    group = program // parts % extent.groups
    p = (program // (parts * extent.groups)).to(index) * block + tl.arange(0, block)
    valid = p < pixels
    image, out_y, out_x = place(p, extent.out_height, extent.out_width)
    y, x_at = out_y * extent.stride_y, out_x * extent.stride_x
    plane = x + image * strides.image + (group * extent.group_in).to(tl.int64) * strides.channel
    row = (group * extent.group_out + first).to(tl.int64)
    last = extent.group_out - 1 - first
    sums = zeros(outputs, block, real)
    done = 0
    for _ in range(extent.group_in):
        seen = window(plane, y, x_at, valid, extent, sizes, strides, real)
        if unrolled:
            for t in tl.static_range(taps):
                if sizes.same:
                    under = seen[t]
                else:
                    under = under_tap(plane, y, x_at, t, valid, extent, sizes, strides, real)
                sums = _add(
                    sums, seen, under, weight, generator_bias, row, last, done + t, extent, sizes, how, real, outputs
                )
        else:
            for t in range(sizes.taps):
                under = under_tap(plane, y, x_at, t, valid, extent, sizes, strides, real)
                sums = _add(
                    sums, seen, under, weight, generator_bias, row, last, done + t, extent, sizes, how, real, outputs
                )
        plane += strides.channel
        done += sizes.taps
    target = out + image * out_strides.image + (out_y * out_strides.row + out_x * out_strides.column)
    for o in tl.static_range(outputs):
        kept = o <= last
        total = sums[o]
        if biased:
            total += tl.load(bias + row + o, mask=kept, other=0.0).to(real)
        tl.store(target + (row + o) * out_strides.channel, total.to(out.dtype.element_ty), mask=valid & kept)


@triton.jit
def _add(
    sums,
    seen,
    under,
    weight,
    generator_bias,
    row,
    last,
    at,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
    outputs: tl.constexpr,
):
    """Add tap `at` of a filter, counted over its input channels, to the sums of a few outputs."""
    block: tl.constexpr = under.shape[0]
    new = ()
    for o in tl.static_range(outputs):
        # Beyond the last channel, the last one is computed once more, and not stored.
        tap = (row + tl.minimum(o, last)) * (extent.group_in * sizes.taps) + at
        weights = uniform(weight + tap * sizes.seen, sizes.seen, block, real)
        kernel = generate(seen, weights, uniform(generator_bias + tap, 1, block, real)[0], sizes, how)
        new += (tl.fma(kernel, under, sums[o]),)
    return new
