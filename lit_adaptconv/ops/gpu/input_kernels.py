"""The input's gradient, in two kernels: no two threads ever write to one number, so nothing needs to be atomic.

At an output pixel, `spread_kernel` finds what each pixel under the kernel and under the generator's window gets from
there, and writes it to a map of its own. An input pixel then collects, in one order, what all output pixels that see it
have for it. The maps are scratch memory of a bounded size: see `passes.SCRATCH`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu import tiles
from lit_adaptconv.ops.gpu.pixels import generate, pixel, place, scalars, slope, window, zeros


@triton.autotune(
    tiles.SPREAD, key=tiles.KEY, prune_configs_by={"early_config_prune": tiles.prune_spread}, cache_results=True
)
@triton.jit(do_not_specialize=["magnitude"])
def spread_kernel(
    grad,
    x,
    weight,
    generator_bias,
    maps,
    step,
    first_channel,
    channels,
    sizes,
    grad_strides,
    strides,
    magnitude,
    group_out,
    kernel_height: tl.constexpr,
    kernel_width: tl.constexpr,
    window_height: tl.constexpr,
    window_width: tl.constexpr,
    applies_tanh: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
):
    """Write `maps` for a tile of one input channel: (kernel's taps then window's pixels, channels, output pixels).

    From one map to the next it is `step`.
    """
    taps: tl.constexpr = kernel_height * kernel_width
    seen_pixels: tl.constexpr = window_height * window_width
    program = tl.program_id(0)
    local = program % channels
    channel = first_channel + local
    group, within = channel // sizes.group_in, channel % sizes.group_in
    p = (program // channels).to(index) * block + tl.arange(0, block)
    valid = p < sizes.pixels
    image, out_y, out_x = place(p, sizes.out_height, sizes.out_width)
    y, x_at = out_y * sizes.stride_y, out_x * sizes.stride_x
    plane = x + image * strides.image + channel.to(tl.int64) * strides.channel
    above = grad + image * grad_strides.image + (out_y * grad_strides.row + out_x)
    above += (group * group_out).to(tl.int64) * grad_strides.channel
    row = (group * group_out).to(tl.int64) * sizes.group_in + within
    seen = window(plane, y, x_at, valid, sizes, strides.row, window_height, window_width, real)
    sums = zeros(seen_pixels, block, real)
    target = maps + local.to(tl.int64) * sizes.pixels + p
    for t in range(taps):
        at_y = y - sizes.kernel_y + t // kernel_width * sizes.dilation_y
        at_x = x_at - sizes.kernel_x + t % kernel_width * sizes.dilation_x
        under = pixel(plane, at_y, at_x, valid, sizes, strides.row, real)
        along = tl.zeros([block], real)
        at = row * taps + t
        here = above
        for _ in range(group_out):
            weights = scalars(weight + at * seen_pixels, seen_pixels)
            kernel = generate(seen, weights, tl.load(generator_bias + at), 0, seen_pixels, applies_tanh)
            d = tl.load(here, mask=valid, other=0.0).to(real)
            along += kernel * d
            dz = slope(kernel, under, d, applies_tanh)
            new = ()
            for s in tl.static_range(seen_pixels):
                new += (sums[s] + weights[s] * dz,)
            sums = new
            at += sizes.group_in * taps
            here += grad_strides.channel
        tl.store(target, along, mask=valid)
        target += step
    for s in tl.static_range(seen_pixels):
        tl.store(target, sums[s], mask=valid)
        target += step


@triton.jit
def _landing(at, before, step, stride, count):
    """Output rows (or columns) whose window has input row `at` as its pixel at `step`, and whether they exist."""
    from_first = at + before - step
    return from_first // stride, (from_first >= 0) & (from_first % stride == 0) & (from_first // stride < count)


@triton.jit
def collect_kernel(
    maps,
    out,
    step,
    channels,
    pixels,
    sizes,
    strides,
    kernel_height: tl.constexpr,
    kernel_width: tl.constexpr,
    window_height: tl.constexpr,
    window_width: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
):
    """Add up, for a tile of `pixels` input pixels of one channel, what the maps have for them."""
    taps: tl.constexpr = kernel_height * kernel_width
    seen_pixels: tl.constexpr = window_height * window_width
    program = tl.program_id(0)
    local = program % channels
    p = (program // channels).to(index) * block + tl.arange(0, block)
    valid = p < pixels
    image, y, x = place(p, sizes.height, sizes.width)
    source = maps + local.to(tl.int64) * sizes.pixels + image * (sizes.out_height * sizes.out_width)
    total = tl.zeros([block], real)
    for t in range(taps):
        row, fits_y = _landing(
            y, sizes.kernel_y, t // kernel_width * sizes.dilation_y, sizes.stride_y, sizes.out_height
        )
        column, fits_x = _landing(
            x, sizes.kernel_x, t % kernel_width * sizes.dilation_x, sizes.stride_x, sizes.out_width
        )
        total += tl.load(source + (row * sizes.out_width + column), mask=valid & fits_y & fits_x, other=0.0)
        source += step
    for s in range(seen_pixels):
        row, fits_y = _landing(
            y, sizes.window_y, s // window_width * sizes.dilation_y, sizes.stride_y, sizes.out_height
        )
        column, fits_x = _landing(
            x, sizes.window_x, s % window_width * sizes.dilation_x, sizes.stride_x, sizes.out_width
        )
        total += tl.load(source + (row * sizes.out_width + column), mask=valid & fits_y & fits_x, other=0.0)
        source += step
    at = image * strides.image + local.to(tl.int64) * strides.channel + (y * strides.row + x)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=valid)
