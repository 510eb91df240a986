"""What the kernels are told about a call: sizes and strides, in elements."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lit_adaptconv.ops.geometry import Call

FARTHEST = 2**31 - 2**16  # offsets in one plane up to here, and a tile more, fit in 32 bits


class Sizes(NamedTuple):
    """One launch: all its images have one geometry."""

    pixels: int  # of the output, in all images of one channel
    height: int
    width: int
    out_height: int
    out_width: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    kernel_y: int  # zeros above and left of the image, for the kernel
    kernel_x: int
    window_y: int  # and for the generator's window; negative numbers crop
    window_x: int
    groups: int
    group_in: int


class Strides(NamedTuple):
    """From one image, channel and row to the next; pixels of a row are neighbours."""

    image: int
    channel: int
    row: int


def sizes_of(input: Tensor, generator_weight: Tensor, call: Call) -> Sizes:
    """Measure a call."""
    images, channels, height, width = input.shape
    y, x = call.windows((height, width), generator_weight.shape[-2:])
    return Sizes(
        images * y.out * x.out,
        height,
        width,
        y.out,
        x.out,
        *call.stride,
        *call.dilation,
        y.kernel_pad[0],
        x.kernel_pad[0],
        y.generator_pad[0],
        x.generator_pad[0],
        call.groups,
        channels // call.groups,
    )


def strides_of(tensor: Tensor) -> Strides:
    """Return the strides of a tensor whose rows are contiguous."""
    image, channel, row, _ = tensor.stride()
    return Strides(image, channel, row)


def wide(sizes: Sizes, *tensors: Tensor) -> bool:
    """Whether offsets in a channel, or the number of its pixels, need 64 bits."""
    planes = (t.stride(2) * t.shape[2] + t.shape[3] for t in tensors)
    in_pixels = sizes.pixels // max(1, sizes.out_height * sizes.out_width) * sizes.height * sizes.width
    return max(sizes.pixels, in_pixels, *planes) > FARTHEST
