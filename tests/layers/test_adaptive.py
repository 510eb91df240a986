"""The full-rank layer: its parameters, its writing, and that it is a shell over the function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from torch import nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.functional import adaptive_conv2d


def test_the_state_dict_has_the_documented_names_and_shapes() -> None:
    layer = AdaptiveConv2d(4, 6, (3, 2), groups=2, generator_size=(1, 5))
    shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    assert shapes == {"generator_weight": (12, 6, 1, 5), "generator_bias": (6, 2, 6), "bias": (6,)}
    without = AdaptiveConv2d(4, 6, 3, bias=False)
    assert without.bias is None
    assert set(without.state_dict()) == {"generator_weight", "generator_bias"}


@pytest.mark.parametrize(("channels", "out", "k", "q", "groups"), [(1, 6, 5, 5, 1), (8, 8, 3, 5, 8), (6, 4, 2, 3, 2)])
def test_it_has_q_squared_plus_one_times_the_weights_of_a_convolution(
    channels: int, out: int, k: int, q: int, groups: int
) -> None:
    layer = AdaptiveConv2d(channels, out, k, groups=groups, generator_size=q)
    ordinary = nn.Conv2d(channels, out, k, groups=groups)
    count = sum(p.numel() for p in layer.parameters())
    assert count == ordinary.weight.numel() * (q**2 + 1) + out
    assert count == out * (channels // groups) * k**2 * (q**2 + 1) + out


def test_the_generator_is_as_large_as_the_kernel_unless_told() -> None:
    assert AdaptiveConv2d(1, 1, (2, 3)).generator_size == (2, 3)
    assert AdaptiveConv2d(1, 1, (2, 3), generator_size=4).generator_size == (4, 4)


@settings(max_examples=50)
@given(cases())
def test_the_layer_equals_the_function_with_its_parameters(case: Case) -> None:
    (x,) = map(torch.from_numpy, case.normal(case.input_shape))
    layer = AdaptiveConv2d(
        case.in_channels,
        case.out_channels,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.bias,
        generator_size=case.generator_size,
        dtype=torch.float64,
    )
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    parameters = (layer.generator_weight, layer.generator_bias, layer.bias)
    assert torch.equal(layer(x), adaptive_conv2d(x, *parameters, kernel_size=case.kernel_size, **case.windows))


def test_the_output_activation_is_applied_to_the_output() -> None:
    torch.manual_seed(0)
    plain, bounded = AdaptiveConv2d(2, 3, 3), AdaptiveConv2d(2, 3, 3, output_activation="tanh")
    bounded.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 7, 7)
    torch.testing.assert_close(bounded(x), plain(x).tanh())


def test_the_kernel_activation_bounds_the_output_by_the_sum_of_the_pixels() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 7, 7)
    layers = {act: AdaptiveConv2d(2, 1, 3, bias=False, kernel_activation=act) for act in ("tanh", "identity")}
    for layer in layers.values():
        nn.init.constant_(layer.generator_weight, 10.0)
    bound = nn.functional.conv2d(x.abs(), torch.ones(1, 2, 3, 3))
    assert (layers["tanh"](x).abs() <= bound).all()
    assert (layers["identity"](x).abs() > bound).any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "AdaptiveConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1))"),
        (
            {"stride": 2, "padding": 1, "dilation": (1, 2), "groups": 2, "bias": False},
            "AdaptiveConv2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 2), groups=2, "
            "bias=False)",
        ),
        (
            {"padding": "same", "generator_size": 5, "kernel_activation": "identity", "output_activation": "tanh"},
            "AdaptiveConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding='same', generator_size=(5, 5), "
            "kernel_activation='identity', output_activation='tanh')",
        ),
    ],
)
def test_repr_names_what_differs_from_the_defaults(options: dict[str, Any], expected: str) -> None:
    assert repr(AdaptiveConv2d(2, 4, 3, **options)) == expected


def test_repr_is_that_of_an_ordinary_convolution_where_they_share_arguments() -> None:
    arguments: dict[str, Any] = {"stride": (1, 2), "padding": 2, "dilation": 3, "groups": 2, "bias": False}
    assert repr(AdaptiveConv2d(2, 4, 3, **arguments)).removeprefix("Adaptive") == repr(nn.Conv2d(2, 4, 3, **arguments))
