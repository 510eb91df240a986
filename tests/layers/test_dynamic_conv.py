import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import Array, array, images, kernels_of, linear, loop_conv, make, outputs, relu, softmax
from torch import nn

from lit_adaptconv.layers import DynamicConv2d


def attention(layer: DynamicConv2d, x: torch.Tensor, temperature: float) -> Array:
    hidden = relu(linear(layer.squeeze.linear, x.mean((2, 3))))
    return softmax(linear(layer.attention, hidden) / temperature)


@settings(max_examples=25)
@given(cases(), st.integers(1, 3), st.sampled_from([0.5, 1.0, 30.0]))
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, num_kernels: int, temperature: float) -> None:
    layer, x = make(case, DynamicConv2d, num_kernels=num_kernels, temperature=temperature), images(case)
    weights = attention(layer, x, temperature)
    kernels = np.einsum("nk,k...->n...", weights, kernels_of(layer))
    bias = weights @ array(layer.bias) if case.bias else None
    expected = loop_conv(case, x, lambda i, j: kernels, bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_a_high_temperature_is_the_plain_average_of_the_kernels() -> None:
    layer = DynamicConv2d(3, 5, 3, padding=1, temperature=1e9, dtype=torch.float64)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    average = nn.functional.conv2d(x, layer.weight.unflatten(0, (4, -1)).mean(0), layer.bias.mean(0), padding=1)
    torch.testing.assert_close(layer(x), average)


def test_an_annealed_temperature_is_saved_with_the_weights() -> None:
    trained, resumed = DynamicConv2d(3, 5, 3), DynamicConv2d(3, 5, 3)
    trained.temperature.fill_(1.0)
    resumed.load_state_dict(trained.state_dict())
    assert resumed.temperature.item() == 1.0
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(resumed(x), trained(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kernels": 0}, "num_kernels must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be positive, got nan"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        DynamicConv2d(4, 4, 3, **options)
