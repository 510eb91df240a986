"""Where kernel and generator windows lie: the sizes that every kernel implementation shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Padding = int | tuple[int, int] | Literal["same", "valid"]


def pair(value: int | tuple[int, int], name: str, least: int = 1) -> tuple[int, int]:
    """Return `value` as (height, width).

    Raises:
        ValueError: `value` is neither an int nor a pair of ints, or below `least`; the message names the argument.
    """
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(hasattr(v, "__index__") for v in both):
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}")
    if min(both) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return (int(both[0]), int(both[1]))


def check_padding(padding: Padding, stride: tuple[int, int]) -> Padding:
    """Return `padding` as a name or as (height, width).

    Raises:
        ValueError: It is an unknown name, is negative, or is "same" with a stride.
    """
    if not isinstance(padding, str):
        return pair(padding, "padding", least=0)
    if padding not in ("same", "valid"):
        raise ValueError(f"padding must be an int, a pair of ints, 'same' or 'valid', got {padding!r}")
    if padding == "same" and stride != (1, 1):
        raise ValueError(f"padding='same' works with stride 1 only, got stride {stride}")
    return padding


def check_input(shape: Sequence[int], in_channels: int) -> None:
    """Check the shape of a layer's input.

    Raises:
        ValueError: It is neither a batch of images nor an image, or has not `in_channels` channels.
    """
    if len(shape) not in (3, 4) or shape[-3] != in_channels:
        raise ValueError(f"input must be (N, {in_channels}, H, W) or ({in_channels}, H, W), got shape {tuple(shape)}")


@dataclass(frozen=True)
class Window:
    """One image axis of an adaptive convolution, in pixels.

    The generator is dilated as the kernel is, so with equal sizes both see the same pixels. Both windows share
    their centre, pixel `dilation * (size - 1) // 2` of the window: where `padding="same"` puts it.

    Attributes:
        out: Output length.
        kernel_pad: Zeros before and after the input, where the kernel window is convolved with it.
        generator_pad: The same for the generator window, so that the output is as long; negative numbers crop.
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
            ValueError: The input is smaller than the kernel.
        """
        reach = dilation * (kernel - 1)
        if padding == "same":
            before, after = reach // 2, reach - reach // 2
        elif padding == "valid":
            before = after = 0
        else:
            before = after = padding
        span = size + before + after - reach - 1
        if span < 0:
            raise ValueError(
                f"kernel of {reach + 1} pixels (size {kernel}, dilation {dilation}) is larger than "
                f"the padded input of {size + before + after}"
            )
        excess = dilation * (generator - 1) - reach
        shift = dilation * (generator - 1) // 2 - reach // 2
        return cls(
            out=span // stride + 1,
            kernel_pad=(before, after),
            generator_pad=(before + shift, after + excess - shift),
        )


def windows(
    image: tuple[int, int],
    kernel_size: tuple[int, int],
    generator_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
) -> tuple[Window, Window]:
    """Place the windows on both image axes (height, width).

    Raises:
        ValueError: The padding does not fit, or the input is smaller than the kernel.
    """
    padding = check_padding(padding, stride)
    by_axis = (padding, padding) if isinstance(padding, str) else pair(padding, "padding", least=0)
    height, width = (
        Window.of(image[i], kernel_size[i], generator_size[i], stride[i], by_axis[i], dilation[i]) for i in range(2)
    )
    return height, width
