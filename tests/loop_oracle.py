"""Convolution by loops in NumPy, whose kernel may differ from pixel to pixel: the oracle of the rival operators."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cases import Case, cases
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]


def depthwise_cases() -> st.SearchStrategy[Case]:
    """Cases with as many output as input channels, among others."""
    return st.one_of(cases(), cases().map(lambda case: dataclasses.replace(case, group_out=case.group_in)))


def make(case: Case, conv: Callable[..., nn.Module], **options: Any) -> Any:
    """The layer in float64 and eval mode, every parameter and running statistic random."""
    torch.manual_seed(case.seed)
    layer = conv(
        case.in_channels,
        case.out_channels,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.bias,
        **options,
        dtype=torch.float64,
    )
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.6)
    for name, buffer in layer.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.5, 2)
    return layer.eval()


def images(case: Case) -> Array:
    """A batch of images, `(N, C_in, H, W)`."""
    return case.normal((case.batch or 1, case.in_channels, *case.image))[0]


def outputs(layer: nn.Module, x: Array) -> Array:
    return array(layer(torch.from_numpy(x)))


def before(case: Case, axis: int) -> int:
    """Zeros before the image."""
    if isinstance(case.padding, str):
        return case.dilation[axis] * (case.kernel_size[axis] - 1) // 2 if case.padding == "same" else 0
    return case.padding[axis]


def out_size(case: Case) -> tuple[int, int]:
    """Output height and width: the number of window positions, counted."""
    sizes = []
    for axis in range(2):
        reach = case.dilation[axis] * (case.kernel_size[axis] - 1)
        added = reach if case.padding == "same" else 2 * before(case, axis)
        sizes.append(len(range(0, case.image[axis] + added - reach, case.stride[axis])))
    return sizes[0], sizes[1]


def centre(case: Case, axis: int, position: int) -> int:
    """Image coordinate of the centre of the window at one output position."""
    return position * case.stride[axis] - before(case, axis) + case.dilation[axis] * (case.kernel_size[axis] - 1) // 2


def array(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def kernels_of(layer: Any, name: str = "weight") -> Array:
    """A stack of kernels with a dimension of its own in front of the output channels."""
    stack = array(layer.get_parameter(name))
    return stack.reshape(-1, layer.out_channels, *stack.shape[1:])


def pixel(x: Array, row: int, column: int) -> Array:
    """All samples and channels of one pixel, `(N, C)`; zero outside the image."""
    inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
    return x[:, :, row, column] if inside else np.zeros(x.shape[:2])


def bilinear(x: Array, row: float, column: float) -> Array:
    """All channels of one sample, `(C, H, W)`, between pixels; zero outside the image."""
    top, left = math.floor(row), math.floor(column)
    out = np.zeros(len(x))
    for a, b in itertools.product((top, top + 1), (left, left + 1)):
        out += (1 - abs(row - a)) * (1 - abs(column - b)) * pixel(x[None], a, b)[0]
    return out


def window(case: Case, x: Array, i: int, j: int) -> Array:
    """The pixels under the kernel at output position (i, j), `(N, C, kh, kw)`."""
    top = i * case.stride[0] - before(case, 0)
    left = j * case.stride[1] - before(case, 1)
    rows = [
        [pixel(x, top + a * case.dilation[0], left + b * case.dilation[1]) for b in range(case.kernel_size[1])]
        for a in range(case.kernel_size[0])
    ]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def loop_conv(case: Case, x: Array, kernel: Callable[[int, int], Array], bias: torch.Tensor | Array | None) -> Array:
    """Apply `kernel(i, j)`, `(N, C_out, C_in // groups, kh, kw)`, at every output position (i, j), group by group."""
    y = np.zeros((len(x), case.out_channels, *out_size(case)))
    group_in, group_out = case.group_in, case.group_out
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            seen, kernels = window(case, x, i, j), kernel(i, j)
            for g in range(case.groups):
                outs, ins = slice(g * group_out, (g + 1) * group_out), slice(g * group_in, (g + 1) * group_in)
                y[:, outs, i, j] = np.einsum("ncab,nocab->no", seen[:, ins], kernels[:, outs])
    if bias is not None:
        bias = array(bias) if isinstance(bias, torch.Tensor) else bias
        y += np.broadcast_to(bias, (len(x), case.out_channels))[:, :, None, None]
    return y


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def linear(layer: nn.Linear | nn.Conv2d, x: Array) -> Array:
    """`(N, in)` to `(N, out)`; a 1×1 convolution counts as linear."""
    y = x @ array(layer.weight).reshape(layer.weight.shape[0], -1).T
    return y if layer.bias is None else y + array(layer.bias)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def pointwise(case: Case, layer: nn.Conv2d | None, x: Array) -> Array:
    """A 1×1 convolution in the case's groups, or none."""
    if layer is None:
        return x
    weight = array(layer.weight)[:, :, 0, 0].reshape(case.groups, -1, case.group_in)
    grouped = x.reshape(len(x), case.groups, -1, *x.shape[2:])
    return np.einsum("goc,ngchw->ngohw", weight, grouped).reshape(len(x), -1, *x.shape[2:])
