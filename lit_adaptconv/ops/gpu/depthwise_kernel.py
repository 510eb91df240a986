"""All gradients of a depthwise layer in one pass: each kernel is generated once more, and once only.

A program takes a strip of one channel of one image after another. It first writes what each output pixel has for the
pixels that it sees to maps of its own, which are so small that they stay in the cache, and then collects them; the sums
for the weights stay in its registers until the end.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu.input_kernels import landing_in_window, landing_on_tap
from lit_adaptconv.ops.gpu.pixels import beside, generate, slope, under_tap, uniform, window, zeros


@triton.jit
def depthwise_kernel(
    grad,
    x,
    weight,
    generator_bias,
    maps,
    out,
    parts,
    items,
    items_each,
    grad_strides,
    strides,
    out_strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    strips: tl.constexpr,
    rows: tl.constexpr,
    above: tl.constexpr,
    below: tl.constexpr,
    area: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
    needs_input: tl.constexpr,
):
    """Write the input's gradient to `out`, and to a row of `parts` each thread's sums over `items_each` strips.

    An item is a strip of `rows` input rows of an image. What an output pixel sees begins at most `above` rows above it
    and ends at most `below` rows below; a map holds `area` output pixels.
    """
    channels: tl.constexpr = extent.groups
    taps: tl.constexpr = sizes.taps
    seen_pixels: tl.constexpr = sizes.seen
    maps_of_window: tl.constexpr = sizes.seen if needs_input else 0
    count: tl.constexpr = sizes.taps * sizes.seen
    each: tl.constexpr = channels * (count + sizes.taps + 1) * block
    # Wide stores compile sooner than many; wider ones than 32 do not.
    stored: tl.constexpr = min(32, triton.next_power_of_2(count))
    stored_levels: tl.constexpr = stored.bit_length() - 1
    taps_size: tl.constexpr = triton.next_power_of_2(sizes.taps)
    taps_levels: tl.constexpr = taps_size.bit_length() - 1
    program = tl.program_id(0)
    channel = program % channels
    part = program // channels
    weights = uniform(weight + channel * count, count, block, real)
    biases = uniform(generator_bias + channel * sizes.taps, sizes.taps, block, real)
    sums = zeros(count, block, real)
    bias_sums = zeros(taps + 1, block, real)
    own = maps + program.to(tl.int64) * (area * (sizes.seen if sizes.same else sizes.taps + sizes.seen))
    for number in range(tl.minimum(items_each, items - part * items_each)):
        item = part * items_each + number
        image, strip = (item // strips).to(tl.int64), item % strips
        plane = x + image * strides.image + channel.to(tl.int64) * strides.channel
        gradient = grad + image * grad_strides.image + channel.to(tl.int64) * grad_strides.channel
        # Output rows: those that see the strip, and those whose sums are this strip's to make.
        start = strip * rows
        first = tl.maximum((start - below) // extent.stride_y, 0)
        own_first = (start + extent.stride_y - 1) // extent.stride_y
        if strip == strips - 1:
            end, own_end = extent.out_height, extent.out_height
        else:
            end = tl.minimum((start + rows - 1 + above) // extent.stride_y + 1, extent.out_height)
            own_end = (start + rows + extent.stride_y - 1) // extent.stride_y
        pixels = (end - first) * extent.out_width
        for from_pixel in range(0, pixels, block):
            p = (from_pixel + tl.arange(0, block)).to(index)
            valid = p < pixels
            out_y, out_x = first + p // extent.out_width, p % extent.out_width
            mine = valid & (out_y >= own_first) & (out_y < own_end)
            y, x_at = out_y * extent.stride_y, out_x * extent.stride_x
            d = tl.load(gradient + (out_y * grad_strides.row + out_x * grad_strides.column), mask=valid, other=0.0).to(
                real
            )
            seen = window(plane, y, x_at, valid, extent, sizes, strides, real)
            target = own + p
            spread = zeros(maps_of_window, block, real)
            new_sums, new_bias_sums = (), ()
            for t in tl.static_range(taps):
                if sizes.same:
                    under = seen[t]
                else:
                    under = under_tap(plane, y, x_at, t, valid, extent, sizes, strides, real)
                kernel = generate(seen, weights[t * seen_pixels : t * seen_pixels + seen_pixels], biases[t], sizes, how)
                dz = slope(kernel, under, d, sizes)
                new = ()
                for s in tl.static_range(maps_of_window):
                    total = tl.fma(weights[t * sizes.seen + s], dz, spread[s])
                    if sizes.same and s == t:
                        total = tl.fma(kernel, d, total)
                    new += (total,)
                spread = new
                if needs_input and not sizes.same:
                    tl.store(target, kernel * d, mask=valid)
                    target += area
                # Elsewhere, a kernel that is NaN or infinite must not count.
                dz = tl.where(mine, dz, 0.0)
                new_bias_sums += (bias_sums[t] + dz,)
                for s in tl.static_range(seen_pixels):
                    new_sums += (tl.fma(dz, seen[s], sums[t * sizes.seen + s]),)
            sums = new_sums
            bias_sums = new_bias_sums + (bias_sums[taps] + tl.where(mine, d, 0.0),)
            for s in tl.static_range(maps_of_window):
                tl.store(target, spread[s], mask=valid)
                target += area
        if needs_input:
            tl.debug_barrier()  # the maps are complete
            dx = out + image * out_strides.image + channel.to(tl.int64) * out_strides.channel
            own_maps = own - first * extent.out_width
            _collect(own_maps, dx, start, out_strides, extent, sizes, rows, area, real, index, 4 * block)
            tl.debug_barrier()  # and read
    # A thread's sums are numbers of their own: adding them up here takes long where a program has few pixels.
    row = parts + part.to(tl.int64) * each + tl.arange(0, block)
    bias_row = row + channels * (count * block)
    s = tl.arange(0, stored)
    for begin in tl.static_range(0, count, stored):
        at = row[:, None] + (channel * count + begin + s)[None, :] * block
        tile = beside(sums, begin, min(stored, count - begin), stored, stored_levels)
        tl.store(at, tile, mask=(begin + s < count)[None, :])
    t = tl.arange(0, taps_size)
    at = bias_row[:, None] + (channel * taps + t)[None, :] * block
    tl.store(at, beside(bias_sums, 0, taps, taps_size, taps_levels), mask=(t < taps)[None, :])
    tl.store(bias_row + (channels * taps + channel) * block, bias_sums[taps])


@triton.jit
def _collect(
    maps,
    dx,
    start,
    strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    rows: tl.constexpr,
    area: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
):
    """Add up, for a strip from row `start` on, what a program's own maps have for it."""
    pixels = tl.minimum(rows, extent.height - start) * extent.width
    for from_pixel in range(0, pixels, block):
        p = (from_pixel + tl.arange(0, block)).to(index)
        valid = p < pixels
        y, x = start + p // extent.width, p % extent.width
        total = tl.zeros([block], real)
        source = maps
        if not sizes.same:
            for t in range(sizes.taps):
                row, column, fits = landing_on_tap(y, x, t, extent, sizes)
                total += tl.load(source + (row * extent.out_width + column), mask=valid & fits, other=0.0)
                source += area
        for s in range(sizes.seen):
            row, column, fits = landing_in_window(y, x, s, extent, sizes)
            total += tl.load(source + (row * extent.out_width + column), mask=valid & fits, other=0.0)
            source += area
        tl.store(dx + (y * strides.row + x * strides.column), total.to(dx.dtype.element_ty), mask=valid)
