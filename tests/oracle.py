"""The operators, written a second time: one multiplication at a time, from the definition, with no code in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
}


def _pixel(channel: Array, y: int, x: int) -> float:
    """A pixel, or zero beyond the image."""
    inside = 0 <= y < channel.shape[0] and 0 <= x < channel.shape[1]
    return float(channel[y, x]) if inside else 0.0


def _axis(size: int, kernel: int, stride: int, padding: int | str, dilation: int) -> tuple[int, int]:
    """Pixel on which the first kernel window starts, and number of windows."""
    reach = dilation * (kernel - 1)
    before, total = (
        (reach // 2, reach) if padding == "same" else (0, 0) if padding == "valid" else (padding, 2 * padding)
    )
    return -before, len(range(0, size + total - reach, stride))


def _starts(
    image: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: object, dilation: tuple[int, int]
) -> list[list[int]]:
    """Rows and columns on which the kernel windows start."""
    pads = padding if isinstance(padding, tuple) else (padding, padding)
    axes = [_axis(image[i], kernel[i], stride[i], pads[i], dilation[i]) for i in range(2)]
    return [[first + i * step for i in range(count)] for (first, count), step in zip(axes, stride, strict=True)]


def _window(
    start: tuple[int, int], kernel: tuple[int, int], size: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Pixels, in row-major order, of the window of `size` that has the centre of the kernel window at `start`."""
    y, x = (start[i] + dilation[i] * (kernel[i] - 1) // 2 - dilation[i] * (size[i] - 1) // 2 for i in range(2))
    for row in range(size[0]):
        for column in range(size[1]):
            yield y + row * dilation[0], x + column * dilation[1]


def full_rank(
    input: Array,
    generator_weight: Array,
    generator_bias: Array,
    bias: Array | None,
    *,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: object,
    dilation: tuple[int, int],
    groups: int,
    kernel_activation: str,
) -> Array:
    """The full-rank adaptive convolution of a batch."""
    act = ACTIVATIONS[kernel_activation]
    out_channels, group_in, _, *size = generator_weight.shape
    rows, columns = _starts(input.shape[-2:], kernel_size, stride, padding, dilation)
    out = np.zeros((len(input), out_channels, len(rows), len(columns)))
    for n, o, i, j in np.ndindex(out.shape):
        total = 0.0 if bias is None else bias[o]
        for c in range(group_in):
            channel = input[n, o // (out_channels // groups) * group_in + c]
            seen = [_pixel(channel, *at) for at in _window((rows[i], columns[j]), kernel_size, tuple(size), dilation)]
            under = [_pixel(channel, *at) for at in _window((rows[i], columns[j]), kernel_size, kernel_size, dilation)]
            for t, pixel in enumerate(under):
                z = float(generator_bias[o, c, t])
                for weight, value in zip(generator_weight[o, c, t].flat, seen, strict=True):
                    z += float(weight) * value
                total += act(z) * pixel
        out[n, o, i, j] = total
    return out


def low_rank(
    input: Array,
    gate_weight: Array,
    gate_bias: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: tuple[int, int],
    padding: object,
    dilation: tuple[int, int],
    groups: int,
    gate_activation: str,
) -> Array:
    """The low-rank adaptive convolution of a batch, by way of the kernel of each pixel."""
    act = ACTIVATIONS[gate_activation]
    rank, out_channels, group_in, *kernel_size = weight.shape
    kernel, size = (kernel_size[0], kernel_size[1]), (gate_weight.shape[-2], gate_weight.shape[-1])
    rows, columns = _starts(input.shape[-2:], kernel, stride, padding, dilation)
    out = np.zeros((len(input), out_channels, len(rows), len(columns)))
    for n, o, i, j in np.ndindex(out.shape):
        first = o // (out_channels // groups) * group_in
        start = (rows[i], columns[j])
        mixed = np.zeros((group_in, *kernel))
        for r in range(rank):
            z = float(gate_bias[r, o])
            for c in range(group_in):
                for w, at in zip(gate_weight[r, o, c].flat, _window(start, kernel, size, dilation), strict=True):
                    z += float(w) * _pixel(input[n, first + c], *at)
            mixed += act(z) * weight[r, o]
        total = 0.0 if bias is None else bias[o]
        for c in range(group_in):
            for tap, at in zip(mixed[c].flat, _window(start, kernel, kernel, dilation), strict=True):
                total += float(tap) * _pixel(input[n, first + c], *at)
        out[n, o, i, j] = total
    return out
