"""Conv kinds: each is a drop-in for `nn.Conv2d`, and wrong names are answered with the right ones."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import Case, cases
from hypothesis import given, settings
from torch import nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import KINDS, SeparableConv2d, conv_kind

every_kind = pytest.mark.parametrize("kind", KINDS)


def test_the_known_kinds_include_both_arms_and_their_separable_forms() -> None:
    assert {"standard", "separable", "adaptive", "adaptive_separable", "adaptive_low_rank"} <= set(KINDS)
    assert type(conv_kind("standard")(1, 1, 1)) is nn.Conv2d
    assert type(conv_kind("adaptive")(1, 1, 1)) is AdaptiveConv2d
    assert type(conv_kind("adaptive_low_rank")(1, 1, 1)) is LowRankAdaptiveConv2d
    bilinear = conv_kind("adaptive_bilinear")(1, 1, 1)
    assert isinstance(bilinear, LowRankAdaptiveConv2d)
    assert bilinear.gate_activation == "identity"
    for kind, depthwise in (
        ("separable", nn.Conv2d),
        ("adaptive_separable", AdaptiveConv2d),
        ("adaptive_low_rank_separable", LowRankAdaptiveConv2d),
    ):
        layer = conv_kind(kind)(1, 1, 1)
        assert type(layer) is SeparableConv2d
        assert type(layer.depthwise) is depthwise


@every_kind
@settings(max_examples=15)
@given(cases())
def test_every_kind_takes_the_arguments_of_conv2d_and_gives_its_output_shape(kind: str, case: Case) -> None:
    arguments: tuple[Any, ...] = (
        case.in_channels,
        case.out_channels,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.bias,
    )
    x = torch.from_numpy(case.normal(case.input_shape)[0]).float()
    layer = conv_kind(kind)(*arguments).eval()  # batch normalisation, where there is one, refuses to train on one pixel
    assert layer(x).shape == nn.Conv2d(*arguments)(x).shape
    with_bias, without = (
        sum(p.numel() for p in conv_kind(kind)(*arguments[:-1], bias, device="meta").parameters())
        for bias in (True, False)
    )
    added = with_bias - without
    assert added == case.out_channels * (4 if kind == "dynamic_conv" else 1)  # one bias for each of its 4 kernels
    assert sum(p.numel() for p in layer.parameters()) == (with_bias if case.bias else without)


@every_kind
def test_every_kind_takes_the_arguments_of_conv2d_by_name(kind: str) -> None:
    layer = conv_kind(kind)(
        in_channels=4,
        out_channels=6,
        kernel_size=3,
        stride=2,
        padding=1,
        dilation=1,
        groups=2,
        bias=False,
        device="cpu",
        dtype=torch.float64,
    )
    assert layer(torch.randn(2, 4, 9, 8, dtype=torch.float64)).shape == (2, 6, 5, 4)


@every_kind
def test_every_kind_can_be_pickled_with_its_layers(kind: str) -> None:
    layer = pickle.loads(pickle.dumps(conv_kind(kind)))(2, 2, 3)
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


def test_options_are_set_on_the_layer() -> None:
    assert conv_kind("adaptive", {"generator_size": 5})(1, 2, 3).generator_size == (5, 5)
    assert conv_kind("adaptive_low_rank", {"rank": 3, "gate_activation": "sigmoid"})(1, 2, 3).rank == 3
    layer = conv_kind("adaptive_separable", {"kernel_activation": "identity"})(2, 2, 3)
    assert layer.depthwise.kernel_activation == "identity"
    assert conv_kind("standard", {}) is nn.Conv2d


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    message = f"unknown conv kind 'adaptve'; known kinds: {', '.join(KINDS)}"
    with pytest.raises(UserError, match="^" + re.escape(message) + "$"):
        conv_kind("adaptve")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "adaptive",
            "conv kind 'adaptive' has no option 'ranks'; "
            "its options: generator_size, kernel_activation, output_activation",
        ),
        (
            "adaptive_separable",
            "conv kind 'adaptive_separable' has no option 'ranks'; "
            "its options: generator_size, kernel_activation, output_activation",
        ),
        (
            "adaptive_low_rank",
            "conv kind 'adaptive_low_rank' has no option 'ranks'; its options: rank, generator_size, gate_activation, "
            "shared_gate, gate_mean",
        ),
        ("separable", "conv kind 'separable' has no option 'ranks'; it has none"),
        ("standard", "conv kind 'standard' has no option 'ranks'; it has none"),
    ],
)
def test_an_unknown_option_is_answered_with_the_known_ones(kind: str, message: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(message) + "$"):
        conv_kind(kind, {"ranks": 2})


def test_what_a_kind_has_settled_is_no_option_of_it() -> None:
    with pytest.raises(UserError, match="has no option 'gate_activation'; its options: rank"):
        conv_kind("adaptive_bilinear", {"gate_activation": "tanh"})


def test_the_bilinear_layer_is_a_product_of_two_convolutions() -> None:
    torch.manual_seed(0)
    layer = conv_kind("adaptive_bilinear")(3, 4, 3, padding=1).double()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    gate = F.conv2d(x, layer.gate_weight, layer.gate_bias[0], padding=1)
    expected = gate * F.conv2d(x, layer.weight, padding=1) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    degree_two = layer(2 * x) - 2 * layer(x) + layer(0 * x)  # second difference of a polynomial of degree 2 along x
    torch.testing.assert_close(layer(3 * x) - 2 * layer(2 * x) + layer(x), degree_two)
