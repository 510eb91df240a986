import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import Case, array, cases, linear, loop_conv, pixel, relu

from lit_adaptconv.layers import DynamicFilter2d, LocalDynamicFilter2d


@settings(max_examples=25, deadline=None)
@given(cases())
def test_per_sample_filters_agree_with_loops(case: Case) -> None:
    layer, x = case.layer(DynamicFilter2d), case.input()
    filters = linear(layer.filters, relu(linear(layer.squeeze.linear, array(x).mean((2, 3)))))
    kernels = filters.reshape(case.samples, case.out_channels, -1, *case.kernel_size)
    expected = loop_conv(case, array(x), lambda i, j: kernels, layer.bias)
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(cases(), st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_local_filters_agree_with_kernels_written_out_pixel_by_pixel(case: Case, seen: tuple[int, int]) -> None:
    layer, x = case.layer(LocalDynamicFilter2d, generator_size=seen), case.input()
    image = array(x)

    def kernel(i: int, j: int) -> np.ndarray:
        top, left = (case.centre(a, p) - case.dilation[a] * (seen[a] - 1) // 2 for a, p in enumerate((i, j)))
        hidden = np.tile(array(layer.features.bias), (case.samples, 1))
        for a in range(seen[0]):
            for b in range(seen[1]):
                under = pixel(image, top + a * case.dilation[0], left + b * case.dilation[1])
                hidden += under @ array(layer.features.weight)[:, :, a, b].T
        return array(layer.weight)[0] + np.einsum("nh,h...->n...", relu(hidden), array(layer.weight)[1:])

    np.testing.assert_allclose(array(layer(x)), loop_conv(case, image, kernel, layer.bias), rtol=1e-9, atol=1e-9)


def test_a_generator_that_sees_nothing_leaves_an_ordinary_convolution() -> None:
    layer = LocalDynamicFilter2d(4, 6, 3, padding=1, groups=2)
    torch.nn.init.zeros_(layer.features.weight)
    x = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(
        layer(x), torch.nn.functional.conv2d(x, layer.weight[0], layer.bias, padding=1, groups=2)
    )


@pytest.mark.parametrize("layer", [DynamicFilter2d, LocalDynamicFilter2d])
def test_a_reduction_below_one_is_refused(layer: type[DynamicFilter2d | LocalDynamicFilter2d]) -> None:
    with pytest.raises(ValueError, match=r"^reduction must be at least 1, got 0$"):
        layer(4, 4, 3, reduction=0)
