"""Where kernel and generator windows lie: the sizes that every implementation shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from lit_adaptconv.ops.activation import Activation

Padding = int | tuple[int, int] | Literal["same", "valid"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Sides = tuple[int, int, int, int]
"""Zeros above, below, left and right of the image."""


def check_one_of(value: str, name: str, known: Any) -> None:
    """Check an argument that is one of a few words.

    Raises:
        ValueError: `value` is not in the Literal `known`; the message names the argument and the known words.
    """
    if value not in get_args(known):
        raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")


def two_ints(value: int | tuple[int, int], name: str, least: int = 1) -> tuple[int, int]:
    """Return `value` as (height, width).

    Raises:
        ValueError: `value` is neither an int nor a pair of ints, or below `least`; the message names the argument.
    """
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(v, int) or hasattr(v, "__index__") for v in both):
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
        return two_ints(padding, "padding", least=0)
    if padding not in ("same", "valid"):
        raise ValueError(f"padding must be an int, a pair of ints, 'same' or 'valid', got {padding!r}")
    if padding == "same" and stride != (1, 1):
        raise ValueError(f"padding='same' works with stride 1 only, got stride {stride}")
    return padding


def sides(padding: Padding, kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Sides:
    """Return `padding` as the number of zeros on each side.

    Raises:
        ValueError: It is an unknown name, is negative, or is "same" with a stride.
    """
    padding = check_padding(padding, stride)
    if padding == "same":
        y, x = (dilation[i] * (kernel_size[i] - 1) for i in range(2))
        return (y // 2, y - y // 2, x // 2, x - x // 2)
    y, x = padding if isinstance(padding, tuple) else (0, 0)
    return (y, y, x, x)


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
    def of(cls, size: int, kernel: int, generator: int, stride: int, padding: tuple[int, int], dilation: int) -> Window:
        """Place both windows on an axis of `size` pixels with `padding` zeros before and after.

        Raises:
            ValueError: The input is smaller than the kernel.
        """
        reach = dilation * (kernel - 1)
        before, after = padding
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


class Windows(NamedTuple):
    """Both image axes."""

    rows: Window
    columns: Window

    @property
    def kernel_pad(self) -> Sides:
        """Zeros around the image for the kernel, in the order of `torch.nn.functional.pad`."""
        return (*self.columns.kernel_pad, *self.rows.kernel_pad)

    @property
    def generator_pad(self) -> Sides:
        """The same for the generator."""
        return (*self.columns.generator_pad, *self.rows.generator_pad)


def windows(
    image: Sequence[int],
    kernel_size: Sequence[int],
    generator_size: Sequence[int],
    stride: tuple[int, int],
    padding: Padding | Sides,
    dilation: tuple[int, int],
) -> Windows:
    """Place the windows on both axes of an image (height, width).

    Raises:
        ValueError: The padding does not fit, or the input is smaller than the kernel.
    """
    kernel = (kernel_size[0], kernel_size[1])
    top, bottom, left, right = (
        padding if isinstance(padding, tuple) and len(padding) == 4 else sides(padding, kernel, stride, dilation)
    )
    return Windows(
        Window.of(image[0], kernel[0], generator_size[0], stride[0], (top, bottom), dilation[0]),
        Window.of(image[1], kernel[1], generator_size[1], stride[1], (left, right), dilation[1]),
    )


class Call(NamedTuple):
    """The arguments of an adaptive convolution beside its tensors, checked and in one form.

    Attributes:
        kernel_size: Kernel taps (height, width).
        stride: Step between output pixels.
        padding: Zeros on each side of the image.
        dilation: Distance between taps.
        groups: Channel groups.
        kernel_activation: What the generated kernel passes through.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: Sides
    dilation: tuple[int, int]
    groups: int
    kernel_activation: Activation

    def windows(self, image: Sequence[int], generator_size: Sequence[int]) -> Windows:
        """Place the windows on both axes of an image (height, width)."""
        return windows(image, self.kernel_size, generator_size, self.stride, self.padding, self.dilation)
