"""The approximation of tanh that the fused CPU kernel uses in float32: its stated error bound, and its ends."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from lit_adaptconv.ops.cpu.simd import BYTES, load, store
from lit_adaptconv.ops.cpu.tanh import tanh


@njit(error_model="numpy")
def _tanh_of(x, out):  # type: ignore[no-untyped-def]
    for i in range(0, len(x), BYTES // x.itemsize):
        store(out, i, tanh(load(x, i)))


def tanh_of(x: NDArray[np.floating]) -> NDArray[np.floating]:
    padded = np.zeros(-(-len(x) // 16) * 16, x.dtype)
    padded[: len(x)] = x
    out = np.empty_like(padded)
    _tanh_of(padded, out)
    return out[: len(x)]


def every_nth_float32(step: int) -> NDArray[np.float32]:
    """Every `step`-th positive finite float32, from the smallest subnormal number up."""
    return np.arange(1, 0x7F800000, step, dtype=np.uint32).view(np.float32)


def relative_error(x: NDArray[np.float32]) -> float:
    exact = np.tanh(x.astype(np.float64))
    return float(np.max(np.abs(tanh_of(x) - exact) / np.maximum(exact, np.finfo(np.float32).tiny)))


def test_the_relative_error_is_below_the_stated_bound() -> None:
    assert relative_error(every_nth_float32(1009)) < 5e-7


@pytest.mark.slow
def test_the_relative_error_is_below_the_stated_bound_for_every_float32_up_to_saturation() -> None:
    first, last = np.array([1e-12, 16], np.float32).view(np.uint32)
    for start in range(int(first), int(last), 1 << 24):
        assert relative_error(np.arange(start, start + (1 << 24), dtype=np.uint32).view(np.float32)) < 5e-7


def test_it_is_odd_and_never_beyond_one() -> None:
    x = every_nth_float32(100_003)
    assert np.array_equal(tanh_of(-x), -tanh_of(x))
    assert tanh_of(x).max() == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: type[np.floating]) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 20, -20, 1e4, -1e30, 0.0, -0.0], dtype)
    got = tanh_of(x)
    assert np.isnan(got[0])
    assert np.array_equal(got[1:], [1, -1, 1, -1, 1, -1, 0, 0])
    assert np.signbit(got[8])


def test_in_float64_it_is_the_c_librarys() -> None:
    x = np.random.default_rng(0).normal(0, 3, 1000)
    np.testing.assert_allclose(tanh_of(x), np.tanh(x), rtol=1e-15)
