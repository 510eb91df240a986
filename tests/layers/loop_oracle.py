"""Convolution by loops in NumPy, and the strategy that draws its arguments: what the operators are checked against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn


@dataclass(frozen=True)
class Case:
    """One layer's arguments and the size of its input."""

    samples: int
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: Any
    dilation: tuple[int, int]
    groups: int
    bias: bool
    image: tuple[int, int]
    seed: int

    def layer(self, conv: Callable[..., nn.Module], **options: Any) -> Any:
        """The layer in float64 and eval mode, every parameter and running statistic random."""
        torch.manual_seed(self.seed)
        layer = conv(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias,
            **options,
            dtype=torch.float64,
        )
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.6)
        for name, buffer in layer.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                nn.init.uniform_(buffer, 0.5, 2)
        return layer.eval()

    def input(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(self.samples, self.in_channels, *self.image, generator=generator, dtype=torch.float64)

    def axis(self, i: int) -> tuple[int, int]:
        """(zeros before the image, output length) of axis i."""
        reach = self.dilation[i] * (self.kernel_size[i] - 1)
        if self.padding == "same":
            return reach // 2, self.image[i]
        before = 0 if self.padding == "valid" else self.padding[i]
        return before, (self.image[i] + 2 * before - reach - 1) // self.stride[i] + 1

    @property
    def out(self) -> tuple[int, int]:
        return self.axis(0)[1], self.axis(1)[1]

    def centre(self, i: int, position: int) -> int:
        """Image coordinate of the centre of the window of one output position on axis i."""
        return position * self.stride[i] - self.axis(i)[0] + self.dilation[i] * (self.kernel_size[i] - 1) // 2


@st.composite
def cases(draw: st.DrawFn, *, same_channels: bool = False) -> Case:
    groups = draw(st.integers(1, 2))
    in_channels = groups * draw(st.integers(1, 3))
    out_channels = in_channels if same_channels else groups * draw(st.integers(1, 3))
    padding = draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(["same", "valid"])))
    sizes = st.tuples(st.integers(1, 3), st.integers(1, 3))
    steps = st.tuples(st.integers(1, 2), st.integers(1, 2))
    return Case(
        samples=draw(st.integers(1, 2)),
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=draw(sizes),
        stride=(1, 1) if padding == "same" else draw(steps),
        padding=padding,
        dilation=draw(steps),
        groups=groups,
        bias=draw(st.booleans()),
        image=draw(st.tuples(st.integers(5, 7), st.integers(5, 7))),
        seed=draw(st.integers(0, 1000)),
    )


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def pixel(x: np.ndarray, row: int, column: int) -> np.ndarray:
    """All samples and channels of one pixel, `(N, C)`; zero outside the image."""
    inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
    return x[:, :, row, column] if inside else np.zeros(x.shape[:2])


def window(case: Case, x: np.ndarray, i: int, j: int) -> np.ndarray:
    """The pixels under the kernel at output position (i, j), `(N, C, kh, kw)`."""
    top = i * case.stride[0] - case.axis(0)[0]
    left = j * case.stride[1] - case.axis(1)[0]
    rows = [
        [pixel(x, top + a * case.dilation[0], left + b * case.dilation[1]) for b in range(case.kernel_size[1])]
        for a in range(case.kernel_size[0])
    ]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def loop_conv(
    case: Case, x: np.ndarray, kernel: Callable[[int, int], np.ndarray], bias: torch.Tensor | np.ndarray | None
) -> np.ndarray:
    """Apply `kernel(i, j)`, `(N, C_out, C_in // groups, kh, kw)`, at every output position (i, j), group by group."""
    out = np.zeros((case.samples, case.out_channels, *case.out))
    group_in, group_out = case.in_channels // case.groups, case.out_channels // case.groups
    for i in range(case.out[0]):
        for j in range(case.out[1]):
            seen, kernels = window(case, x, i, j), kernel(i, j)
            for g in range(case.groups):
                outs, ins = slice(g * group_out, (g + 1) * group_out), slice(g * group_in, (g + 1) * group_in)
                out[:, outs, i, j] = np.einsum("ncab,nocab->no", seen[:, ins], kernels[:, outs])
    if bias is not None:
        bias = array(bias) if isinstance(bias, torch.Tensor) else bias
        out += np.broadcast_to(bias, (case.samples, case.out_channels))[:, :, None, None]
    return out


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def linear(layer: nn.Linear | nn.Conv2d, x: np.ndarray) -> np.ndarray:
    """`(N, in)` to `(N, out)`; a 1×1 convolution counts as linear."""
    out = x @ array(layer.weight).reshape(layer.weight.shape[0], -1).T
    return out if layer.bias is None else out + array(layer.bias)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def pointwise(case: Case, layer: nn.Conv2d | None, x: np.ndarray) -> np.ndarray:
    """A 1×1 convolution in the case's groups, or none."""
    if layer is None:
        return x
    weight = array(layer.weight)[:, :, 0, 0].reshape(case.groups, -1, case.in_channels // case.groups)
    grouped = x.reshape(case.samples, case.groups, -1, *x.shape[2:])
    return np.einsum("goc,ngchw->ngohw", weight, grouped).reshape(case.samples, -1, *x.shape[2:])
