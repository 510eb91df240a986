"""How images lie in scratch memory: every neighbour of a pixel at one distance, whatever stride and dilation."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_adaptconv.ops.geometry import Call, Window

BLOCK = 3  # taps, window pixels and vectors that the loops take at once
STEP = 48  # the longest step of the vector loops, in pixels
SEGMENT = 4096  # a segment of a larger image is a band of rows with about so many pixels: it stays in the first caches
SMALL = 960  # images with fewer pixels share a segment, since a run is rounded up to STEP
TILE = 960  # pixels for which gradients of all taps are held at once
SAFE = 1e15  # with values and weights up to here, no sum overflows
TASKS = 32  # parts into which the backward pass is cut, if the batch allows


class Layout(NamedTuple):
    """Sizes of a call; all are numbers of elements unless they say otherwise.

    A *plane* holds one channel of a segment of the batch: a few whole images, or a band of rows of one. With a stride,
    the plane is split into phases, in each of which neighbouring output pixels are neighbours. Zeros before a row
    are also the zeros after the row above.
    """

    images: int
    in_channels: int
    out_channels: int
    group_in: int
    group_out: int
    height: int
    width: int
    out_height: int
    out_width: int
    stride_y: int
    stride_x: int
    before_y: int  # zeros above the first row
    before_x: int  # zeros left of the first column
    pitch: int  # from one row of a phase to the next
    rows: int  # rows of a phase, for each image of a segment
    together: int  # images in a segment
    bands: int  # segments of an image
    band_rows: int  # output rows of a band
    phase: int  # size of a phase
    plane: int  # size of a plane
    run: int  # longest run of output pixels, rounded up to STEP
    tile: int
    taps: int
    window: int
    shared: bool  # kernel and window see the same pixels in the same order
    applies_tanh: bool  # whether the kernel passes through tanh


Offsets = NDArray[np.int64]


class _Axis(NamedTuple):
    """One image axis: zeros before, steps from the first pixel to each tap and window pixel, and the padded length."""

    before: int
    taps: list[int]
    window: list[int]
    length: int

    @classmethod
    def of(cls, window: Window, size: int, taps: int, pixels: int, stride: int, dilation: int) -> _Axis:
        before = max(window.kernel_pad[0], window.generator_pad[0])
        tap_at = [before - window.kernel_pad[0] + i * dilation for i in range(taps)]
        window_at = [before - window.generator_pad[0] + i * dilation for i in range(pixels)]
        last = stride * (window.out - 1) + max(tap_at[-1], window_at[-1])
        # Past the end of a row come the zeros of the next one, so only what exceeds them needs room.
        length = max(before + min(size, last + 1 - before), last + 1 - before)
        return cls(before, tap_at, window_at, max(window.out, -(-length // stride)))


@lru_cache(maxsize=256)
def lay_out(
    shape: tuple[int, ...], out_channels: int, generator_size: tuple[int, ...], call: Call
) -> tuple[Layout, Offsets, Offsets]:
    """Lay out a call: sizes, and the distance from an output pixel to each kernel tap and to each window pixel."""
    images, in_channels, height, width = shape
    kernel_size, stride, dilation = call.kernel_size, call.stride, call.dilation
    on_y, on_x = call.windows((height, width), generator_size)
    y = _Axis.of(on_y, height, kernel_size[0], generator_size[0], stride[0], dilation[0])
    x = _Axis.of(on_x, width, kernel_size[1], generator_size[1], stride[1], dilation[1])
    below = max(y.taps[-1], y.window[-1]) // stride[0] + 1
    if on_y.out * x.length <= SEGMENT:
        together = max(1, min(images, SMALL // (y.length * x.length)))
        bands, band_rows, rows = 1, on_y.out, y.length
    else:
        band_rows = max(1, SEGMENT // x.length)
        together, bands, rows = 1, -(-on_y.out // band_rows), band_rows + below
    run = -(-((together - 1) * rows + band_rows) * x.length // STEP) * STEP
    reach = below * x.length + max(x.taps[-1], x.window[-1]) // stride[1] + 1
    phase = max(run, together * rows * x.length) + reach
    phase += STEP

    def distances(on_y: list[int], on_x: list[int]) -> Offsets:
        return np.array(
            [
                (i % stride[0] * stride[1] + j % stride[1]) * phase + i // stride[0] * x.length + j // stride[1]
                for i in on_y
                for j in on_x
            ],
            dtype=np.int64,
        )

    layout = Layout(
        images=images,
        in_channels=in_channels,
        out_channels=out_channels,
        group_in=in_channels // call.groups,
        group_out=out_channels // call.groups,
        height=height,
        width=width,
        out_height=on_y.out,
        out_width=on_x.out,
        stride_y=stride[0],
        stride_x=stride[1],
        before_y=y.before,
        before_x=x.before,
        pitch=x.length,
        rows=rows,
        together=together,
        bands=bands,
        band_rows=band_rows,
        phase=phase,
        plane=stride[0] * stride[1] * phase,
        run=run,
        tile=min(TILE, run),
        taps=len(y.taps) * len(x.taps),
        window=len(y.window) * len(x.window),
        shared=y.taps == y.window and x.taps == x.window,
        applies_tanh=call.kernel_activation == "tanh",
    )
    return layout, distances(y.taps, x.taps), distances(y.window, x.window)
