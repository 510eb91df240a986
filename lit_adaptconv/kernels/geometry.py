"""Where kernel and generator windows lie: the sizes that every kernel implementation shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Padding = int | tuple[int, int] | Literal["same", "valid"]


def pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    """Return `value` as (height, width).

    Raises:
        ValueError: `value` is neither an int nor a pair of ints; the message names the argument.
    """
    if isinstance(value, int):
        return (value, value)
    if len(value) != 2:
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}")
    return (int(value[0]), int(value[1]))


@dataclass(frozen=True)
class Window:
    """One image axis of an adaptive convolution, in pixels.

    The generator is dilated as the kernel is, so with equal sizes both see the same pixels. Both windows share
    their centre, pixel `dilation * (size - 1) // 2` of the window: where `padding="same"` puts it.

    Attributes:
        out: Output length.
        kernel_pad: Zeros before and after the input so that the kernel window exactly covers it.
        generator_pad: The same for the generator window; negative numbers crop.
    """

    out: int
    kernel_pad: tuple[int, int]
    generator_pad: tuple[int, int]

    @classmethod
    def of(
        cls, size: int, kernel: int, generator: int, stride: int, padding: int | Literal["same", "valid"], dilation: int
    ) -> Window:
        """Place both windows on an axis of `size` pixels.

        Raises:
            ValueError: `padding="same"` with a stride, an unknown padding, or an input smaller than the kernel.
        """
        reach = dilation * (kernel - 1)
        if padding == "same":
            if stride != 1:
                raise ValueError("padding='same' is not supported for strided convolutions")
            before, after = reach // 2, reach - reach // 2
        elif padding == "valid":
            before = after = 0
        elif isinstance(padding, int):
            before = after = padding
        else:
            raise ValueError(f"padding must be an int, a pair of ints, 'same' or 'valid', got {padding!r}")
        span = size + before + after - reach - 1
        if span < 0:
            raise ValueError(
                f"kernel of {reach + 1} pixels (size {kernel}, dilation {dilation}) is larger than "
                f"the padded input of {size + before + after}"
            )
        out = span // stride + 1
        generator_reach = dilation * (generator - 1)
        covered = stride * (out - 1) + 1
        start = before + generator_reach // 2 - reach // 2
        return cls(
            out=out,
            kernel_pad=(before, covered + reach - size - before),
            generator_pad=(start, covered + generator_reach - size - start),
        )


def windows(
    image: tuple[int, int],
    kernel_size: tuple[int, int],
    generator_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
) -> tuple[Window, Window]:
    """Place the windows on both image axes (height, width)."""
    by_axis = (padding, padding) if isinstance(padding, str) else pair(padding, "padding")
    height, width = (
        Window.of(image[i], kernel_size[i], generator_size[i], stride[i], by_axis[i], dilation[i]) for i in range(2)
    )
    return height, width
