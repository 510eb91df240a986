import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import images, kernels_of, linear, loop_conv, make, outputs, relu, sigmoid, softmax

from lit_adaptconv.layers import ODConv2d


@settings(max_examples=25)
@given(cases(), st.integers(1, 3), st.sampled_from([1.0, 30.0]))
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, num_kernels: int, temperature: float) -> None:
    layer, x = make(case, ODConv2d, num_kernels=num_kernels, temperature=temperature), images(case)
    hidden = relu(linear(layer.squeeze.linear, x.mean((2, 3))))
    taps = sigmoid(linear(layer.tap_gate, hidden)).reshape(len(x), *case.kernel_size)
    channels, filters = sigmoid(linear(layer.channel_gate, hidden)), sigmoid(linear(layer.filter_gate, hidden))
    weights = np.ones((len(x), 1))
    if num_kernels > 1:
        weights = softmax(linear(layer.attention, hidden) / temperature)
    group_in, group_out = case.group_in, case.group_out
    kernels = np.zeros((len(x), *kernels_of(layer).shape[1:]))
    for o in range(case.out_channels):
        for c in range(group_in):
            of_input = o // group_out * group_in + c  # the input channel that this row of the kernel meets
            mixed = np.einsum("nk,kab->nab", weights, kernels_of(layer)[:, o, c])
            kernels[:, o, c] = filters[:, o, None, None] * channels[:, of_input, None, None] * taps * mixed
    expected = loop_conv(case, x, lambda i, j: kernels, layer.bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_one_kernel_has_no_parameters_for_choosing_among_kernels() -> None:
    assert ODConv2d(8, 8, 3).attention is None
    layer = ODConv2d(8, 8, 3, padding=1)
    layer(torch.randn(2, 8, 5, 5)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kernels": 0}, "num_kernels must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be positive, got -1.0"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ODConv2d(4, 4, 3, **options)
