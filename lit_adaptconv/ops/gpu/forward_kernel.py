"""The forward kernel: a program makes a tile of a few output channels of one group."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

import triton
import triton.language as tl

from lit_adaptconv.ops.gpu import tiles
from lit_adaptconv.ops.gpu.pixels import generate, pixel, place, scalars, window, zeros


@triton.autotune(
    tiles.FORWARD, key=tiles.KEY, prune_configs_by={"early_config_prune": tiles.prune_forward}, cache_results=True
)
@triton.jit(do_not_specialize=["magnitude"])
def forward_kernel(
    x,
    weight,
    generator_bias,
    bias,
    out,
    sizes,
    strides,
    magnitude,
    group_out,
    kernel_height: tl.constexpr,
    kernel_width: tl.constexpr,
    window_height: tl.constexpr,
    window_width: tl.constexpr,
    applies_tanh: tl.constexpr,
    biased: tl.constexpr,
    real: tl.constexpr,
    index: tl.constexpr,
    block: tl.constexpr,
    outputs: tl.constexpr,
):
    """Sum over input channels and taps, in this order whatever the tile: every tile gives the same bits."""
    taps: tl.constexpr = kernel_height * kernel_width
    seen_pixels: tl.constexpr = window_height * window_width
    parts = tl.cdiv(group_out, outputs)
    program = tl.program_id(0)
    first = program % parts * outputs
    group = program // parts % sizes.groups
    p = (program // (parts * sizes.groups)).to(index) * block + tl.arange(0, block)
    valid = p < sizes.pixels
    image, out_y, out_x = place(p, sizes.out_height, sizes.out_width)
    y, x_at = out_y * sizes.stride_y, out_x * sizes.stride_x
    plane = x + image * strides.image + (group * sizes.group_in).to(tl.int64) * strides.channel
    row = (group * group_out + first).to(tl.int64)
    sums = zeros(outputs, block, real)
    done = 0
    for _ in range(sizes.group_in):
        seen = window(plane, y, x_at, valid, sizes, strides.row, window_height, window_width, real)
        for t in range(taps):
            at_y = y - sizes.kernel_y + t // kernel_width * sizes.dilation_y
            at_x = x_at - sizes.kernel_x + t % kernel_width * sizes.dilation_x
            under = pixel(plane, at_y, at_x, valid, sizes, strides.row, real)
            new = ()
            for o in tl.static_range(outputs):
                # Beyond the last channel, the last one is computed once more, and not stored.
                at = (row + tl.minimum(o, group_out - 1 - first)) * (sizes.group_in * taps) + done + t
                weights = scalars(weight + at * seen_pixels, seen_pixels)
                kernel = generate(seen, weights, tl.load(generator_bias + at), 0, seen_pixels, applies_tanh)
                new += (sums[o] + kernel * under,)
            sums = new
        plane += strides.channel
        done += taps
    area = sizes.out_height * sizes.out_width
    within = out_y * sizes.out_width + out_x
    for o in tl.static_range(outputs):
        kept = first + o < group_out
        total = sums[o]
        if biased:
            total += tl.load(bias + row + o, mask=kept, other=0.0)
        at = (image * (sizes.groups * group_out) + row + o) * area + within
        tl.store(out + at, total.to(out.dtype.element_ty), mask=valid & kept)
