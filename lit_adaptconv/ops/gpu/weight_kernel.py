"""The gradients of generator weights and biases: a program sums a part of the pixels for a few taps of one filter."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu import tiles
from lit_adaptconv.ops.gpu.pixels import generate, pixel, place, scalars, slope, window, zeros


@triton.autotune(
    tiles.WEIGHTS, key=tiles.KEY, prune_configs_by={"early_config_prune": tiles.prune_weights}, cache_results=True
)
@triton.jit(do_not_specialize=["magnitude"])
def weight_kernel(
    grad,
    x,
    weight,
    generator_bias,
    weight_parts,
    bias_parts,
    tiles_each,
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
    taps_at_once: tl.constexpr,
):
    """Write the sums over `tiles_each` tiles: `weight_parts` (part, *weight's shape), `bias_parts` likewise.

    Each thread adds its own pixels first, tile by tile; the threads are then added once.
    """
    taps: tl.constexpr = kernel_height * kernel_width
    seen_pixels: tl.constexpr = window_height * window_width
    blocks: tl.constexpr = (taps + taps_at_once - 1) // taps_at_once
    program = tl.program_id(0)
    filters = sizes.groups * group_out * sizes.group_in
    first = program % blocks * taps_at_once
    filter_at = program // blocks % filters
    part = program // (blocks * filters)
    channel_out, within = filter_at // sizes.group_in, filter_at % sizes.group_in
    channel = channel_out // group_out * sizes.group_in + within
    at = filter_at.to(tl.int64) * taps
    weights, biases = (), ()
    for k in tl.static_range(taps_at_once):
        # Beyond the last tap, the last one is computed once more, and not stored.
        tap = tl.minimum(first + k, taps - 1)
        weights += scalars(weight + (at + tap) * seen_pixels, seen_pixels)
        biases += (tl.load(generator_bias + at + tap),)
    sums = zeros(taps_at_once * seen_pixels, block, real)
    bias_sums = zeros(taps_at_once, block, real)
    p = (part * tiles_each).to(index) * block + tl.arange(0, block)
    for _ in range(tiles_each):
        valid = p < sizes.pixels
        image, out_y, out_x = place(p, sizes.out_height, sizes.out_width)
        y, x_at = out_y * sizes.stride_y, out_x * sizes.stride_x
        plane = x + image * strides.image + channel.to(tl.int64) * strides.channel
        above = grad + image * grad_strides.image + channel_out.to(tl.int64) * grad_strides.channel
        d = tl.load(above + (out_y * grad_strides.row + out_x), mask=valid, other=0.0).to(real)
        seen = window(plane, y, x_at, valid, sizes, strides.row, window_height, window_width, real)
        new_sums, new_bias_sums = (), ()
        for k in tl.static_range(taps_at_once):
            tap = tl.minimum(first + k, taps - 1)
            at_y = y - sizes.kernel_y + tap // kernel_width * sizes.dilation_y
            at_x = x_at - sizes.kernel_x + tap % kernel_width * sizes.dilation_x
            under = pixel(plane, at_y, at_x, valid, sizes, strides.row, real)
            kernel = generate(seen, weights, biases[k], k * seen_pixels, seen_pixels, applies_tanh)
            # Beyond the last pixel, a kernel that is NaN or infinite must not count.
            dz = tl.where(valid, slope(kernel, under, d, applies_tanh), 0.0)
            new_bias_sums += (bias_sums[k] + dz,)
            for s in tl.static_range(seen_pixels):
                new_sums += (sums[k * seen_pixels + s] + dz * seen[s],)
        sums, bias_sums = new_sums, new_bias_sums
        p += block
    to = part.to(tl.int64) * filters * taps + at + first
    for k in tl.static_range(taps_at_once):
        kept = first + k < taps
        tl.store(bias_parts + to + k, tl.sum(bias_sums[k]), mask=kept)
        for s in tl.static_range(seen_pixels):
            tl.store(weight_parts + (to + k) * seen_pixels + s, tl.sum(sums[k * seen_pixels + s]), mask=kept)
