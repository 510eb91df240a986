"""The gradients of generator weights and biases: a program sums a part of the pixels for a few taps of one filter."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu.pixels import generate, place, slope, under_tap, uniform, window, zeros


@triton.jit
def weight_kernel(
    grad,
    x,
    weight,
    generator_bias,
    parts,
    tiles_each,
    pixels,
    grad_strides,
    strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
    taps_at_once: tl.constexpr,
):
    """Write the sums over `tiles_each` tiles to a row of `parts`: all weights', generator biases' and biases'.

    Each thread adds its own pixels first, tile by tile; the threads are then added once.
    """
    seen_pixels: tl.constexpr = sizes.seen
    blocks: tl.constexpr = (sizes.taps + taps_at_once - 1) // taps_at_once
    filters: tl.constexpr = extent.groups * extent.group_out * extent.group_in
    each: tl.constexpr = filters * sizes.taps * (sizes.seen + 1) + extent.groups * extent.group_out
    program = tl.program_id(0)
    first = program % blocks * taps_at_once
    filter_at = program // blocks % filters
    part = program // (blocks * filters)
    channel_out, within = filter_at // extent.group_in, filter_at % extent.group_in
    channel = channel_out // extent.group_out * extent.group_in + within
    at = filter_at.to(tl.int64) * sizes.taps
    weights, biases = (), ()
    for k in tl.static_range(taps_at_once):
        # Beyond the last tap, the last one is computed once more, and not stored.
        tap = tl.minimum(first + k, sizes.taps - 1)
        weights += uniform(weight + (at + tap) * sizes.seen, sizes.seen, block, real)
        biases += uniform(generator_bias + at + tap, 1, block, real)
    sums = zeros(taps_at_once * sizes.seen, block, real)
    bias_sums = zeros(taps_at_once + 1, block, real)
    p = (part * tiles_each).to(index) * block + tl.arange(0, block)
    for _ in range(tiles_each):
        valid = p < pixels
        image, out_y, out_x = place(p, extent.out_height, extent.out_width)
        y, x_at = out_y * extent.stride_y, out_x * extent.stride_x
        plane = x + image * strides.image + channel.to(tl.int64) * strides.channel
        above = grad + image * grad_strides.image + channel_out.to(tl.int64) * grad_strides.channel
        above += out_y * grad_strides.row + out_x * grad_strides.column
        d = tl.load(above, mask=valid, other=0.0).to(real)
        seen = window(plane, y, x_at, valid, extent, sizes, strides, real)
        new_sums, new_bias_sums = (), ()
        for k in tl.static_range(taps_at_once):
            tap = tl.minimum(first + k, sizes.taps - 1)
            under = under_tap(plane, y, x_at, tap, valid, extent, sizes, strides, real)
            kernel = generate(seen, weights[k * seen_pixels : k * seen_pixels + seen_pixels], biases[k], sizes, how)
            # Beyond the last pixel, a kernel that is NaN or infinite must not count.
            dz = tl.where(valid, slope(kernel, under, d, sizes), 0.0)
            new_bias_sums += (bias_sums[k] + dz,)
            for s in tl.static_range(seen_pixels):
                new_sums += (tl.fma(dz, seen[s], sums[k * sizes.seen + s]),)
        sums, bias_sums = new_sums, new_bias_sums + (bias_sums[taps_at_once] + d,)
        p += block
    row = parts + part.to(tl.int64) * each
    bias_row = row + filters * sizes.taps * sizes.seen
    for k in tl.static_range(taps_at_once):
        kept = first + k < sizes.taps
        tap = at + first + k
        tl.store(bias_row + tap, tl.sum(bias_sums[k]), mask=kept)
        for s in tl.static_range(seen_pixels):
            tl.store(row + tap * sizes.seen + s, tl.sum(sums[k * sizes.seen + s]), mask=kept)
    # The programs of a channel's first filter and taps have the gradient of its bias to store.
    tl.store(
        bias_row + filters * sizes.taps + channel_out,
        tl.sum(bias_sums[taps_at_once]),
        mask=(within == 0) & (first == 0),
    )


@triton.jit(do_not_specialize=["count", "all_weights", "all_biases", "each"])
def add_parts_kernel(
    parts,
    weights,
    biases,
    out_biases,
    count,
    all_weights,
    all_biases,
    each,
    lanes: tl.constexpr,
    rows: tl.constexpr,
    block: tl.constexpr,
):
    """Add the rows of `parts`, (count, each, lanes), `rows` at a time, and write the three parameters' gradients."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    row = tl.arange(0, rows)
    lane, part = row % lanes, row // lanes
    total = tl.zeros([block], parts.dtype.element_ty)
    for first in range(0, count, rows // lanes):
        mask = (first + part < count)[None, :] & (at < each)[:, None]
        place = (part.to(tl.int64) * each * lanes + lane)[None, :] + at[:, None] * lanes
        total += tl.sum(tl.load(parts + place, mask=mask, other=0.0), 1)
        parts += each.to(tl.int64) * rows
    total = total.to(weights.dtype.element_ty)
    tl.store(weights + at, total, mask=at < all_weights)
    tl.store(biases + (at - all_weights), total, mask=(at >= all_weights) & (at < all_weights + all_biases))
    tl.store(out_biases + (at - all_weights - all_biases), total, mask=(at >= all_weights + all_biases) & (at < each))
