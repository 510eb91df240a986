"""Between tensors and scratch memory: see `Layout` for what a plane is.

Tensors come as their memory, flat, and their strides, so any order of dimensions is read without a copy.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from lit_adaptconv.ops.cpu.layout import SAFE
from lit_adaptconv.ops.cpu.simd import get, put
from lit_adaptconv.ops.cpu.tiles import inlined


@inlined
def segment(index, layout):
    """First image, number of images, first output row and number of output rows of a segment."""
    image = index // layout.bands * layout.together
    row = index % layout.bands * layout.band_rows
    return (
        image,
        min(layout.together, layout.images - image),
        row,
        min(layout.band_rows, layout.out_height - row),
    )


@inlined
def _columns(phase, layout):
    """The columns [first, last) of a phase's row that hold pixels, and the pixel of column 0."""
    first = max(0, -((phase - layout.before_x) // layout.stride_x))
    last = min(layout.pitch, -((phase - layout.before_x - layout.width) // layout.stride_x))
    return min(first, layout.pitch), max(first, last), phase - layout.before_x


@inlined
def fill_plane(plane, tensor, strides, channel, image, images, row, layout):
    """Copy a channel of a segment into a plane, with zeros around.

    Returns:
        Whether a value is infinite, not a number or so large that sums may overflow.
    """
    may_overflow = 0
    for phase_y in range(layout.stride_y):
        for phase_x in range(layout.stride_x):
            first, last, origin = _columns(phase_x, layout)
            base = (phase_y * layout.stride_x + phase_x) * layout.phase
            for i in range(layout.together):
                for j in range(layout.rows):
                    y = (row + j) * layout.stride_y + phase_y - layout.before_y
                    at = base + (i * layout.rows + j) * layout.pitch
                    if i >= images or y < 0 or y >= layout.height or first >= last:
                        for k in range(layout.pitch):
                            put(plane, at + k, 0)
                        continue
                    for k in range(first):
                        put(plane, at + k, 0)
                    for k in range(last, layout.pitch):
                        put(plane, at + k, 0)
                    source = (image + i) * strides[0] + channel * strides[1] + y * strides[2]
                    source += (first * layout.stride_x + origin) * strides[3]
                    step = layout.stride_x * strides[3]
                    for k in range(last - first):
                        value = get(tensor, source + k * step)
                        put(plane, at + first + k, value)
                        may_overflow += not (abs(value) <= SAFE)
    return may_overflow > 0


@inlined
def drain_plane(plane, tensor, channel, image, images, row, layout):
    """Copy a plane of gradients into a contiguous tensor; where bands overlap, add."""
    for phase_y in range(layout.stride_y):
        for phase_x in range(layout.stride_x):
            first, last, origin = _columns(phase_x, layout)
            base = (phase_y * layout.stride_x + phase_x) * layout.phase
            for i in range(images):
                for j in range(layout.rows):
                    y = (row + j) * layout.stride_y + phase_y - layout.before_y
                    if y < 0 or y >= layout.height:
                        continue
                    at = base + (i * layout.rows + j) * layout.pitch
                    target = (((image + i) * layout.in_channels + channel) * layout.height + y) * layout.width + origin
                    for k in range(first, last):
                        put(
                            tensor,
                            target + k * layout.stride_x,
                            get(tensor, target + k * layout.stride_x) + get(plane, at + k),
                        )


@inlined
def fill_run(run, tensor, strides, channel, image, images, row, rows, layout):
    """Copy a channel of the output's gradient into a run, with zeros where no output pixel is."""
    for i in range(layout.together):
        for j in range(layout.rows):
            at = (i * layout.rows + j) * layout.pitch
            if i >= images or j >= rows:
                for k in range(layout.pitch):
                    put(run, at + k, 0)
                continue
            source = (image + i) * strides[0] + channel * strides[1] + (row + j) * strides[2]
            for k in range(layout.out_width):
                put(run, at + k, get(tensor, source + k * strides[3]))
            for k in range(layout.out_width, layout.pitch):
                put(run, at + k, 0)


@inlined
def drain_run(run, tensor, channel, image, images, row, rows, layout):
    """Copy a run of output pixels into a contiguous tensor."""
    for i in range(images):
        for j in range(rows):
            at = (i * layout.rows + j) * layout.pitch
            target = (((image + i) * layout.out_channels + channel) * layout.out_height + row + j) * layout.out_width
            for k in range(layout.out_width):
                put(tensor, target + k, get(run, at + k))
