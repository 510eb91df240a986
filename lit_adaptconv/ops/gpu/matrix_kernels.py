"""Layers with many outputs for each input channel, on matrix units: what generates their kernels is a matrix product.

For one input channel and one tap, the kernels of a tile of pixels are (pixels x window) · (window x outputs). A column
of ones beside the window multiplies the generator's bias. In float32 this is TF32, used only where PyTorch lets its
convolutions use that and the GPU has it; half precision is read as it is. Sums over taps and channels are made in
float32.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"

from __future__ import annotations

from typing import Literal

import triton
import triton.language as tl
from triton.runtime import driver

from lit_adaptconv.ops.gpu.interpreter import INTERPRETED
from lit_adaptconv.ops.gpu.pixels import place, under_tap
from lit_adaptconv.ops.gpu.tanh import tanh


def precision_of_products() -> Literal["tf32", "ieee"]:
    """How this machine's matrix units multiply float32: with ten bits where convolutions can, or not at all."""
    target = None if INTERPRETED else driver.active.get_current_target()
    return "tf32" if target is None or (target.backend == "cuda" and target.arch >= 80) else "ieee"


@triton.jit
def pack_kernel(
    weight,
    generator_bias,
    packed,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    taps: tl.constexpr,
    inner: tl.constexpr,
    outer: tl.constexpr,
):
    """Write the generators as matrices: (input channel, `taps`, `inner`, `outer`), zero beyond those that exist.

    The first rows are the weights of the window's pixels, the next is the bias.
    """
    program = tl.program_id(0)
    channel, t = program // taps, program % taps
    group, within = channel // extent.group_in, channel % extent.group_in
    s = tl.arange(0, inner)[:, None]
    o = tl.arange(0, outer)[None, :]
    exists = (o < extent.group_out) & (t < sizes.taps)
    at = ((group * extent.group_out + o).to(tl.int64) * extent.group_in + within) * sizes.taps + t
    values = tl.load(weight + at * sizes.seen + s, mask=exists & (s < sizes.seen), other=0.0)
    values += tl.load(generator_bias + at + s * 0, mask=exists & (s == sizes.seen), other=0.0)
    tl.store(packed + program.to(tl.int64) * (inner * outer) + s * outer + o, values.to(packed.dtype.element_ty))


@triton.jit
def _window_matrix(plane, y, x, valid, extent: tl.constexpr, sizes: tl.constexpr, strides, inner: tl.constexpr):
    """(pixels, inner): what each output pixel sees, then a one, then zeros."""
    s = tl.arange(0, inner)[None, :]
    at_y = (y - sizes.window_y)[:, None] + s // sizes.window_width * sizes.dilation_y
    at_x = (x - sizes.window_x)[:, None] + s % sizes.window_width * sizes.dilation_x
    inside = valid[:, None] & (at_y >= 0) & (at_y < extent.height) & (at_x >= 0) & (at_x < extent.width)
    pixels = tl.load(
        plane[:, None] + (at_y * strides.row + at_x * strides.column), mask=inside & (s < sizes.seen), other=0.0
    )
    return tl.where((s == sizes.seen) & valid[:, None], 1.0, pixels).to(pixels.dtype)


@triton.jit
def forward_matrix_kernel(
    x,
    packed,
    bias,
    out,
    pixels,
    strides,
    out_strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    precision: tl.constexpr,
    biased: tl.constexpr,
    index: tl.constexpr,
    taps: tl.constexpr,
    inner: tl.constexpr,
    outer: tl.constexpr,
    block: tl.constexpr,
    outputs: tl.constexpr,
):
    """Make a tile of `outputs` output channels of one group."""
    parts = tl.cdiv(extent.group_out, outputs)
    program = tl.program_id(0)
    first = program % parts * outputs
    group = program // parts % extent.groups
    p = (program // (parts * extent.groups)).to(index) * block + tl.arange(0, block)
    valid = p < pixels
    image, out_y, out_x = place(p, extent.out_height, extent.out_width)
    y, x_at = out_y * extent.stride_y, out_x * extent.stride_x
    plane = x + image * strides.image + (group * extent.group_in).to(tl.int64) * strides.channel
    o = first + tl.arange(0, outputs)
    matrix = packed + (group * extent.group_in).to(tl.int64) * (taps * inner * outer)
    matrix = matrix + tl.arange(0, inner)[:, None] * outer + o[None, :]
    sums = tl.zeros([block, outputs], tl.float32)
    for _ in range(extent.group_in):
        window = _window_matrix(plane, y, x_at, valid, extent, sizes, strides, inner)
        for t in range(sizes.taps):
            kernel = tl.dot(window, tl.load(matrix + t * (inner * outer)), input_precision=precision)
            if sizes.applies_tanh:
                kernel = tanh(kernel, how)
            sums += kernel * under_tap(plane, y, x_at, t, valid, extent, sizes, strides, tl.float32)[:, None]
        plane += strides.channel
        matrix += taps * inner * outer
    kept = o < extent.group_out
    channel = (group * extent.group_out).to(tl.int64) + o
    if biased:
        sums += tl.load(bias + channel, mask=kept, other=0.0).to(tl.float32)[None, :]
    at = (image * out_strides.image + (out_y * out_strides.row + out_x * out_strides.column))[:, None]
    tl.store(
        out + at + channel[None, :] * out_strides.channel, sums.to(out.dtype.element_ty), valid[:, None] & kept[None, :]
    )


@triton.jit
def backward_matrix_kernel(
    grad,
    x,
    packed,
    maps,
    parts,
    step,
    first_channel,
    channels,
    tiles_each,
    pixels,
    grad_strides,
    strides,
    extent: tl.constexpr,
    sizes: tl.constexpr,
    how: tl.constexpr,
    precision: tl.constexpr,
    index: tl.constexpr,
    taps: tl.constexpr,
    inner: tl.constexpr,
    outer: tl.constexpr,
    block: tl.constexpr,
    outputs: tl.constexpr,
    taps_at_once: tl.constexpr,
    needs_input: tl.constexpr,
    needs_weights: tl.constexpr,
):
    """Write `maps` as `spread_kernel` does and a row of `parts` as `weight_kernel` does, for one input channel.

    The kernels are generated once for both. Where the outputs and taps do not fit in registers at once, the pixels are
    gone through for some of them after the other, and their maps are added up.
    """
    filters: tl.constexpr = extent.groups * extent.group_out * extent.group_in
    each: tl.constexpr = filters * sizes.taps * (sizes.seen + 1) + extent.groups * extent.group_out
    tap_blocks: tl.constexpr = taps // taps_at_once
    program = tl.program_id(0)
    local = program % channels
    channel = first_channel + local
    part = program // channels
    group, within = channel // extent.group_in, channel % extent.group_in
    s = tl.arange(0, inner)
    matrices = packed + channel.to(tl.int64) * (taps * inner * outer)
    row = parts + part.to(tl.int64) * each
    tap_maps = maps + local.to(tl.int64) * pixels
    window_maps = tap_maps if sizes.same else tap_maps + sizes.taps * step
    for some in range(tl.cdiv(extent.group_out, outputs) * tap_blocks):
        first_output, first_tap = some // tap_blocks * outputs, some % tap_blocks * taps_at_once
        o = first_output + tl.arange(0, outputs)
        kept = o < extent.group_out
        channel_out = (group * extent.group_out).to(tl.int64) + o
        matrix = matrices + first_tap * (inner * outer) + s[:, None] * outer + o[None, :]
        zero = tl.zeros([inner, outputs], tl.float32)
        sums = ()
        for _ in tl.static_range(taps_at_once):
            sums += (zero,)
        bias_sums = tl.zeros([outputs], tl.float32)
        p = (part * tiles_each).to(index) * block + tl.arange(0, block)
        for _ in range(tiles_each):
            valid = p < pixels
            image, out_y, out_x = place(p, extent.out_height, extent.out_width)
            y, x_at = out_y * extent.stride_y, out_x * extent.stride_x
            plane = x + image * strides.image + channel.to(tl.int64) * strides.channel
            window = _window_matrix(plane, y, x_at, valid, extent, sizes, strides, inner)
            above = (image * grad_strides.image + (out_y * grad_strides.row + out_x * grad_strides.column))[:, None]
            d = tl.load(
                grad + above + channel_out[None, :] * grad_strides.channel,
                mask=valid[:, None] & kept[None, :],
                other=0.0,
            ).to(tl.float32)
            bias_sums += tl.sum(d, 0)
            spread = tl.zeros([block, inner], tl.float32)
            new_sums = ()
            for k in tl.static_range(taps_at_once):
                w = tl.load(matrix + k * (inner * outer))
                kernel = tl.dot(window, w, input_precision=precision)
                if sizes.applies_tanh:
                    kernel = tanh(kernel, how)
                under = under_tap(plane, y, x_at, first_tap + k, valid, extent, sizes, strides, tl.float32)
                dz = d * under[:, None]
                if sizes.applies_tanh:
                    dz = dz * (1 - kernel * kernel)
                dz = dz.to(window.dtype)
                if needs_input:
                    along = tl.sum(kernel * d, 1)
                    if sizes.same:
                        spread += tl.where((s == first_tap + k)[None, :], along[:, None], 0.0)
                    else:
                        target = tap_maps + (first_tap + k) * step + p
                        exists = valid & (first_tap + k < sizes.taps)
                        if first_output > 0:
                            along += tl.load(target, mask=exists, other=0.0)
                        tl.store(target, along, mask=exists)
                    spread = tl.dot(dz, tl.trans(w), spread, input_precision=precision)
                if needs_weights:
                    new_sums += (tl.dot(tl.trans(window), dz, sums[k], input_precision=precision),)
            if needs_weights:
                sums = new_sums
            if needs_input:
                target = window_maps + s[None, :] * step + p[:, None]
                exists = valid[:, None] & (s < sizes.seen)[None, :]
                if some > 0:
                    spread += tl.load(target, mask=exists, other=0.0)
                tl.store(target, spread, mask=exists)
            p += block
        if needs_weights:
            filter_at = channel_out * extent.group_in + within
            for k in tl.static_range(taps_at_once):
                tap = (filter_at * sizes.taps + first_tap + k)[None, :]
                stored = kept[None, :] & (first_tap + k < sizes.taps)
                # The row behind the window's pixels has the sums for the generators' biases.
                behind = (s == sizes.seen)[:, None]
                at = tl.where(behind, filters * sizes.taps * sizes.seen + tap, tap * sizes.seen + s[:, None])
                tl.store(row + at, sums[k], mask=stored & (s <= sizes.seen)[:, None])
            bias_at = row + filters * sizes.taps * (sizes.seen + 1) + channel_out
            tl.store(bias_at, bias_sums, mask=kept & (within == 0) & (first_tap == 0))
