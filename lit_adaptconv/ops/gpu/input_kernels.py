"""The input's gradient, in two kernels: no two threads ever write to one number, so nothing needs to be atomic.

At an output pixel, `spread_kernel` finds what each pixel that it sees gets from there, and writes it to a map of its
own: one map for each pixel of the window and, where the kernel covers others than the window, for each of its taps. An
input pixel then collects, in one order, what all output pixels that see it have for it.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu.pixels import generate, place, slope, under_tap, uniform, window, zeros


@triton.jit
def spread_kernel(
    grad,
    x,
    weight,
    generator_bias,
    maps,
    step,
    first_channel,
    channels,
    pixels,
    grad_strides,
    strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
    merged: tl.constexpr,
):
    """Write `maps` for a tile of one input channel: (maps, channels, output pixels), from one map to the next `step`.

    `merged`: a tap of the kernel and the same pixel of the window share a map; else the taps come first.
    """
    taps: tl.constexpr = sizes.taps
    seen_pixels: tl.constexpr = sizes.seen
    program = tl.program_id(0)
    local = program % channels
    channel = first_channel + local
    group, within = channel // extent.group_in, channel % extent.group_in
    p = (program // channels).to(index) * block + tl.arange(0, block)
    valid = p < pixels
    image, out_y, out_x = place(p, extent.out_height, extent.out_width)
    y, x_at = out_y * extent.stride_y, out_x * extent.stride_x
    plane = x + image * strides.image + channel.to(tl.int64) * strides.channel
    above = grad + image * grad_strides.image + (out_y * grad_strides.row + out_x * grad_strides.column)
    above += (group * extent.group_out).to(tl.int64) * grad_strides.channel
    at = ((group * extent.group_out).to(tl.int64) * extent.group_in + within) * sizes.taps
    seen = window(plane, y, x_at, valid, extent, sizes, strides, real)
    channel_step = grad_strides.channel
    sums = zeros(sizes.seen, block, real)
    target = maps + local.to(tl.int64) * pixels + p
    if merged:
        for t in tl.static_range(taps):
            under, at_tap = seen[t], at + t
            along, sums = _spread(
                above, channel_step, valid, seen, under, sums, weight, generator_bias, at_tap, extent, sizes, how, real
            )
            sums = sums[:t] + (sums[t] + along,) + sums[t + 1 :]
    else:
        for t in range(sizes.taps):
            under = under_tap(plane, y, x_at, t, valid, extent, sizes, strides, real)
            along, sums = _spread(
                above, channel_step, valid, seen, under, sums, weight, generator_bias, at + t, extent, sizes, how, real
            )
            tl.store(target, along, mask=valid)
            target += step
    for s in tl.static_range(seen_pixels):
        tl.store(target, sums[s], mask=valid)
        target += step


@triton.jit
def _spread(
    above,
    channel_step,
    valid,
    seen,
    under,
    sums,
    weight,
    generator_bias,
    at,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    real: tl.constexpr,
):
    """What one tap has for the pixel under it, and for those in the window, which is added to `sums`."""
    count: tl.constexpr = sizes.seen
    block: tl.constexpr = under.shape[0]
    along = under * 0
    for _ in range(extent.group_out):
        weights = uniform(weight + at * sizes.seen, sizes.seen, block, real)
        kernel = generate(seen, weights, uniform(generator_bias + at, 1, block, real)[0], sizes, how)
        d = tl.load(above, mask=valid, other=0.0).to(real)
        along = tl.fma(kernel, d, along)
        dz = slope(kernel, under, d, sizes)
        new = ()
        for s in tl.static_range(count):
            new += (tl.fma(weights[s], dz, sums[s]),)
        sums = new
        at += extent.group_in * sizes.taps
        above += channel_step
    return along, sums


@triton.jit
def _landing(at, before, step, stride: tl.constexpr, count: tl.constexpr):
    """Output rows (or columns) whose window has input row `at` as its pixel at `step`, and whether they exist."""
    from_first = at + before - step
    row = from_first // stride
    return row, (from_first >= 0) & (row * stride == from_first) & (row < count)


@triton.jit
def landing_on_tap(y, x, t, extent: tl.constexpr, sizes: tl.constexpr):
    """Output pixels that have input pixels (y, x) under tap `t`, and whether they exist."""
    row, fits_y = _landing(
        y, sizes.kernel_y, t // sizes.kernel_width * sizes.dilation_y, extent.stride_y, extent.out_height
    )
    column, fits_x = _landing(
        x, sizes.kernel_x, t % sizes.kernel_width * sizes.dilation_x, extent.stride_x, extent.out_width
    )
    return row, column, fits_y & fits_x


@triton.jit
def landing_in_window(y, x, s, extent: tl.constexpr, sizes: tl.constexpr):
    """Output pixels that see input pixels (y, x) at place `s` of their window, and whether they exist."""
    row, fits_y = _landing(
        y, sizes.window_y, s // sizes.window_width * sizes.dilation_y, extent.stride_y, extent.out_height
    )
    column, fits_x = _landing(
        x, sizes.window_x, s % sizes.window_width * sizes.dilation_x, extent.stride_x, extent.out_width
    )
    return row, column, fits_y & fits_x


@triton.jit
def collect_kernel(
    maps,
    out,
    step,
    channels,
    out_pixels,
    pixels,
    strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
    merged: tl.constexpr,
):
    """Add up, for a tile of `pixels` input pixels of one channel, what the maps have for them."""
    program = tl.program_id(0)
    local = program % channels
    p = (program // channels).to(index) * block + tl.arange(0, block)
    valid = p < pixels
    image, y, x = place(p, extent.height, extent.width)
    source = maps + local.to(tl.int64) * out_pixels + image * (extent.out_height * extent.out_width)
    total = tl.zeros([block], real)
    if not merged:
        for t in range(sizes.taps):
            row, column, fits = landing_on_tap(y, x, t, extent, sizes)
            total += tl.load(source + (row * extent.out_width + column), mask=valid & fits, other=0.0)
            source += step
    for s in range(sizes.seen):
        row, column, fits = landing_in_window(y, x, s, extent, sizes)
        total += tl.load(source + (row * extent.out_width + column), mask=valid & fits, other=0.0)
        source += step
    at = image * strides.image + local.to(tl.int64) * strides.channel + (y * strides.row + x * strides.column)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=valid)
