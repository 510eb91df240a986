"""Random convolutions of every shape, small enough for an oracle that counts on its fingers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))


@dataclass(frozen=True)
class Case:
    """The arguments of a convolution and the shape of its input; `batch` None is an unbatched input."""

    batch: int | None
    image: tuple[int, int]
    group_in: int
    group_out: int
    groups: int
    kernel_size: tuple[int, int]
    generator_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] | str
    dilation: tuple[int, int]
    bias: bool
    seed: int

    @property
    def in_channels(self) -> int:
        return self.group_in * self.groups

    @property
    def out_channels(self) -> int:
        return self.group_out * self.groups

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (*(() if self.batch is None else (self.batch,)), self.in_channels, *self.image)

    @property
    def windows(self) -> dict[str, Any]:
        """Arguments that a convolution function takes after its tensors."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def normal(self, *shapes: tuple[int, ...]) -> list[NDArray[np.float64]]:
        """Standard normal numbers, the same for the same case."""
        rng = np.random.default_rng(self.seed)
        return [rng.standard_normal(shape) for shape in shapes]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kernel = draw(SIZES)
    padding = draw(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(["same", "valid"])))
    stride = (1, 1) if padding == "same" else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    added = reach if padding == "same" else (0, 0) if isinstance(padding, str) else tuple(2 * p for p in padding)
    image = tuple(max(1, r + 1 - a) + draw(st.integers(0, 4)) for r, a in zip(reach, added, strict=True))
    return Case(
        batch=draw(st.sampled_from([1, 2, 3, None])),
        image=(image[0], image[1]),
        group_in=draw(st.integers(1, 3)),
        group_out=draw(st.integers(1, 2)),
        groups=draw(st.integers(1, 2)),
        kernel_size=kernel,
        generator_size=draw(SIZES),
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
    )
