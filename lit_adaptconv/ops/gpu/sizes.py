"""What the kernels are told about a call: sizes and strides, in elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lit_adaptconv.ops.geometry import Call

FARTHEST = 2**31 - 2**16  # offsets in one plane up to here, and a tile more, fit in 32 bits


class Extent(NamedTuple):
    """How large images and channels are, and the step from one output pixel to the next.

    Kernels are compiled for this and for `Sizes`, so that dividing by them costs little.
    """

    height: int
    width: int
    out_height: int
    out_width: int
    stride_y: int
    stride_x: int
    groups: int
    group_in: int
    group_out: int


class Sizes(NamedTuple):
    """Where kernel and window lie."""

    dilation_y: int
    dilation_x: int
    kernel_height: int
    kernel_width: int
    kernel_y: int  # zeros above and left of the image, for the kernel
    kernel_x: int
    window_height: int
    window_width: int
    window_y: int  # and for the generator's window; negative numbers crop
    window_x: int
    taps: int
    seen: int  # pixels of the generator's window
    same: bool  # whether the kernel and the window cover the same pixels
    applies_tanh: bool

    @property
    def maps(self) -> int:
        """What an output pixel has for the pixels that it sees: a number for each."""
        return self.seen if self.same else self.taps + self.seen


class Strides(NamedTuple):
    """From one image, channel, row and pixel to the next."""

    image: int
    channel: int
    row: int
    column: int


def measure(shape: Sequence[int], weight_shape: Sequence[int], call: Call) -> tuple[Extent, Sizes]:
    """Measure a call, from the shapes of its input and generator weight."""
    _, channels, height, width = shape
    window = (weight_shape[2], weight_shape[3])
    y, x = call.windows((height, width), window)
    extent = Extent(
        height,
        width,
        y.out,
        x.out,
        *call.stride,
        call.groups,
        channels // call.groups,
        weight_shape[0] // channels,
    )
    sizes = Sizes(
        *call.dilation,
        *call.kernel_size,
        y.kernel_pad[0],
        x.kernel_pad[0],
        *window,
        y.generator_pad[0],
        x.generator_pad[0],
        call.kernel_size[0] * call.kernel_size[1],
        window[0] * window[1],
        call.kernel_size == window,
        call.kernel_activation == "tanh",
    )
    return extent, sizes


def wide(images: int, extent: Extent, strides: Sequence[int], others: Sequence[int]) -> bool:
    """Whether offsets in a channel of an input and an output with such strides, or its pixels' number, need 64 bits."""
    height, width = max(extent.height, extent.out_height), max(extent.width, extent.out_width)
    row, column = max(strides[2], others[2]), max(strides[3], others[3])
    return max(images * height * width, row * height + column * width) > FARTHEST
