"""The compiled loops over images, channels and segments; each call does the tasks `first` to `last`.

Which thread does a task never changes what is added to what, so results do not depend on the number of threads.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lit_adaptconv.ops.cpu import tiles
from lit_adaptconv.ops.cpu.layout import BLOCK
from lit_adaptconv.ops.cpu.planes import drain_plane, drain_run, fill_plane, fill_run, segment
from lit_adaptconv.ops.cpu.simd import BYTES
from lit_adaptconv.ops.cpu.tiles import inlined


def compile_forward(fingerprint, **options):
    """Compile the forward pass; `fingerprint` tells versions of the sources apart in Numba's cache."""

    @njit(**options)
    def forward(first, last, outputs, x, x_strides, weight, bias, out_bias, kernel_at, window_at, layout, y):
        """Tasks: segment × blocks of `outputs` channels of a group."""
        assert fingerprint
        area = layout.taps * layout.window
        blocks = layout.out_channels // outputs
        plane = np.zeros(layout.group_in * layout.plane, x.dtype)
        planes = plane.reshape(layout.group_in, layout.plane)
        run = np.zeros(layout.run, x.dtype)
        for task in range(first, last):
            image, images, row, rows = segment(task // blocks, layout)
            block = task % blocks * outputs
            group = block // layout.group_out
            for c in range(layout.group_in):
                fill_plane(planes[c], x, x_strides, group * layout.group_in + c, image, images, row, layout)
            length = ((images - 1) * layout.rows + rows) * layout.pitch
            for o in range(block, block + outputs):
                run[:] = out_bias[o]
                for c in range(layout.group_in):
                    filters = o * layout.group_in + c
                    w = weight[filters * area : (filters + 1) * area]
                    b = bias[filters * layout.taps : (filters + 1) * layout.taps]
                    tiles.forward(planes[c], run, length, kernel_at, window_at, w, b, layout.applies_tanh)
                drain_run(run, y, o, image, images, row, rows, layout)

    return forward


@inlined
def _sum_index(tap, pixel, window):
    """Where `tiles.weight_gradients` keeps the sum of a tap and a window pixel, or with pixel -1 of its bias."""
    lanes_each = BLOCK + BLOCK * BLOCK * ((window + BLOCK - 1) // BLOCK)
    at = tap // BLOCK * lanes_each
    if pixel < 0:
        return at + tap % BLOCK
    return at + BLOCK + pixel // BLOCK * BLOCK * BLOCK + tap % BLOCK * BLOCK + pixel % BLOCK


@inlined
def _weight_at(tap, pixel, taps, window):
    """Where the weight of a tap and a window pixel lies."""
    if tap < taps - taps % BLOCK:
        return (tap - tap % BLOCK) * window + BLOCK * pixel + tap % BLOCK
    return tap * window + pixel


@inlined
def _backward_pixel_by_pixel(x, dy, dx, sums, images, rows, kernel_at, window_at, weight, bias, layout):
    """One output pixel after another, touching only pixels that it sees: infinities and NaN spread as they should."""
    lanes = BYTES // x.itemsize
    for i in range(images):
        for j in range(rows):
            for k in range(layout.out_width):
                p = (i * layout.rows + j) * layout.pitch + k
                for t in range(layout.taps):
                    kernel = bias[t]
                    for s in range(layout.window):
                        kernel += weight[_weight_at(t, s, layout.taps, layout.window)] * x[p + window_at[s]]
                    gradient = dy[p] * x[p + kernel_at[t]]
                    if layout.applies_tanh:
                        kernel = math.tanh(kernel)
                        gradient *= 1 - kernel * kernel
                    dx[p + kernel_at[t]] += dy[p] * kernel
                    sums[_sum_index(t, -1, layout.window) * lanes] += gradient
                    for s in range(layout.window):
                        sums[_sum_index(t, s, layout.window) * lanes] += gradient * x[p + window_at[s]]
                        dx[p + window_at[s]] += gradient * weight[_weight_at(t, s, layout.taps, layout.window)]


@inlined
def _add_lanes(values, at, lanes):
    total = 0.0
    for i in range(lanes):
        total += values[at + i]
    return total


def compile_backward(fingerprint, **options):
    """Compile the backward pass; `fingerprint` tells versions of the sources apart in Numba's cache."""

    @njit(**options)
    def backward(
        first,
        last,
        parts,
        needs,
        x,
        x_strides,
        dy,
        dy_strides,
        weight,
        transposed,
        bias,
        weights_may_overflow,
        kernel_at,
        window_at,
        layout,
        dx,
        dweight,
        dbias,
        dout_bias,
    ):
        """Tasks: part of the batch × input channel. `needs`: gradients of the input, and of the parameters.

        `dweight`, `dbias` and `dout_bias` have a slice for each part of the batch.
        """
        assert fingerprint
        lanes = BYTES // x.itemsize
        tile, applies_tanh = layout.tile, layout.applies_tanh
        area = layout.taps * layout.window
        size = layout.height * layout.width
        kernels = layout.out_channels * layout.group_in
        tap_blocks = (layout.taps + BLOCK - 1) // BLOCK
        sums_each = _sum_index(tap_blocks * BLOCK, -1, layout.window) * lanes
        plane = np.zeros(layout.plane, x.dtype)
        gradient = np.zeros(layout.plane, x.dtype)
        run = np.zeros(layout.phase, x.dtype)
        applied = np.zeros(tap_blocks * BLOCK * tile, x.dtype)
        generated = np.zeros(tap_blocks * BLOCK * tile, x.dtype)
        sums = np.zeros(layout.group_out * sums_each, x.dtype)
        blocks = (layout.images + layout.together - 1) // layout.together
        for task in range(first, last):
            part = task // layout.in_channels
            channel = task % layout.in_channels
            group = channel // layout.group_in
            sums[:] = 0
            for index in range(part * blocks // parts * layout.bands, (part + 1) * blocks // parts * layout.bands):
                image, images, row, rows = segment(index, layout)
                may_overflow = (
                    fill_plane(plane, x, x_strides, channel, image, images, row, layout) or weights_may_overflow
                )
                gradient[:] = 0
                if needs[0] and row == 0:
                    for i in range(image, image + images):
                        at = (i * layout.in_channels + channel) * size
                        dx[at : at + size] = 0
                length = ((images - 1) * layout.rows + rows) * layout.pitch
                for i in range(layout.group_out):
                    o = group * layout.group_out + i
                    filters = o * layout.group_in + channel % layout.group_in
                    w = weight[filters * area : (filters + 1) * area]
                    wt = transposed[filters * area : (filters + 1) * area]
                    b = bias[filters * layout.taps : (filters + 1) * layout.taps]
                    total = sums[i * sums_each : (i + 1) * sums_each]
                    fill_run(run, dy, dy_strides, o, image, images, row, rows, layout)
                    if channel % layout.group_in == 0:
                        tiles.sum_run(run, length, applied)
                        dout_bias[part * layout.out_channels + o] += _add_lanes(applied, 0, lanes)
                    if may_overflow:
                        _backward_pixel_by_pixel(
                            plane, run, gradient, total, images, rows, kernel_at, window_at, w, b, layout
                        )
                        continue
                    for start in range(0, length, tile):
                        n = min(tile, length - start)
                        tiles.kernel_gradients(
                            plane, run, start, n, kernel_at, window_at, w, b, applies_tanh, applied, generated, tile
                        )
                        if needs[1]:
                            tiles.weight_gradients(plane, start, n, window_at, generated, tile, layout.taps, total)
                        if needs[0]:
                            tiles.input_gradients(
                                gradient, start, n, kernel_at, window_at, wt, applied, generated, tile, layout.shared
                            )
                if needs[0]:
                    drain_plane(gradient, dx, channel, image, images, row, layout)
            if needs[1]:
                for i in range(layout.group_out):
                    filters = (group * layout.group_out + i) * layout.group_in + channel % layout.group_in
                    for t in range(layout.taps):
                        at = i * sums_each + _sum_index(t, -1, layout.window) * lanes
                        dbias[(part * kernels + filters) * layout.taps + t] = _add_lanes(sums, at, lanes)
                        for s in range(layout.window):
                            at = i * sums_each + _sum_index(t, s, layout.window) * lanes
                            dweight[(part * kernels + filters) * area + t * layout.window + s] = _add_lanes(
                                sums, at, lanes
                            )

    return backward
