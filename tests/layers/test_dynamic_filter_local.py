import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from loop_oracle import Array, array, centre, images, kernels_of, loop_conv, make, outputs, pixel, relu

from lit_adaptconv.layers import LocalDynamicFilter2d


@settings(max_examples=25)
@given(cases())
def test_local_filters_agree_with_kernels_written_out_pixel_by_pixel(case: Case) -> None:
    seen = case.generator_size
    layer, x = make(case, LocalDynamicFilter2d, generator_size=seen), images(case)

    def kernel(i: int, j: int) -> Array:
        top, left = (centre(case, a, p) - case.dilation[a] * (seen[a] - 1) // 2 for a, p in enumerate((i, j)))
        hidden = np.tile(array(layer.features.bias), (len(x), 1))
        for a in range(seen[0]):
            for b in range(seen[1]):
                under = pixel(x, top + a * case.dilation[0], left + b * case.dilation[1])
                hidden += under @ array(layer.features.weight)[:, :, a, b].T
        return kernels_of(layer)[0] + np.einsum("nh,h...->n...", relu(hidden), kernels_of(layer)[1:])

    np.testing.assert_allclose(outputs(layer, x), loop_conv(case, x, kernel, layer.bias), rtol=1e-9, atol=1e-9)


def test_a_generator_that_sees_nothing_leaves_an_ordinary_convolution() -> None:
    layer = LocalDynamicFilter2d(4, 6, 3, padding=1, groups=2)
    torch.nn.init.zeros_(layer.features.weight)
    x = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(
        layer(x), torch.nn.functional.conv2d(x, layer.weight[: layer.out_channels], layer.bias, padding=1, groups=2)
    )


def test_a_reduction_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reduction must be at least 1, got 0$"):
        LocalDynamicFilter2d(4, 4, 3, reduction=0)
