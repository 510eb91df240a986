import numpy as np
import pytest
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import images, kernels_of, linear, loop_conv, make, outputs, sigmoid

from lit_adaptconv.layers import CondConv2d


@settings(max_examples=25)
@given(cases(), st.integers(1, 3))
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, experts: int) -> None:
    layer, x = make(case, CondConv2d, num_experts=experts), images(case)
    routing = sigmoid(linear(layer.routing, x.mean((2, 3))))
    kernels = np.einsum("ne,e...->n...", routing, kernels_of(layer))
    expected = loop_conv(case, x, lambda i, j: kernels, layer.bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_the_routing_has_no_bias() -> None:
    assert CondConv2d(4, 4, 3).routing.bias is None


def test_no_experts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^num_experts must be at least 1, got 0$"):
        CondConv2d(4, 4, 3, num_experts=0)
