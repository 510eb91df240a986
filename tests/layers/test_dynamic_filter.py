import numpy as np
import pytest
from cases import Case, cases
from hypothesis import given, settings
from loop_oracle import images, linear, loop_conv, make, outputs, relu

from lit_adaptconv.layers import DynamicFilter2d


@settings(max_examples=25)
@given(cases())
def test_per_sample_filters_agree_with_loops(case: Case) -> None:
    layer, x = make(case, DynamicFilter2d), images(case)
    filters = linear(layer.filters, relu(linear(layer.squeeze.linear, x.mean((2, 3)))))
    kernels = filters.reshape(len(x), case.out_channels, -1, *case.kernel_size)
    expected = loop_conv(case, x, lambda i, j: kernels, layer.bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_a_reduction_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reduction must be at least 1, got 0$"):
        DynamicFilter2d(4, 4, 3, reduction=0)
