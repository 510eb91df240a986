"""The separable layer: a depthwise convolution of any kind, then a 1×1 one."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.layers import SeparableConv2d


@settings(max_examples=50)
@given(cases(), st.booleans())
def test_it_equals_a_depthwise_convolution_followed_by_a_pointwise_one(case: Case, bias: bool) -> None:
    (x,) = map(torch.from_numpy, case.normal(case.input_shape))
    layer = SeparableConv2d(
        case.in_channels,
        case.out_channels,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        bias,
        dtype=torch.float64,
    )
    if bias:
        nn.init.normal_(layer.pointwise.bias)
    weights = {name: value.detach() for name, value in layer.named_parameters()}
    assert set(weights) == {"depthwise.weight", "pointwise.weight"} | ({"pointwise.bias"} if bias else set())
    assert weights["depthwise.weight"].shape == (case.in_channels, 1, *case.kernel_size)
    windows = {**case.windows, "groups": case.in_channels}
    between = F.conv2d(x, weights["depthwise.weight"], None, **windows)
    expected = F.conv2d(between, weights["pointwise.weight"], weights.get("pointwise.bias"), groups=case.groups)
    torch.testing.assert_close(layer(x), expected)


def test_its_depthwise_part_is_the_kind_it_is_given_with_that_kinds_options() -> None:
    layer = SeparableConv2d(4, 6, 3, 2, 1, depthwise=AdaptiveConv2d, generator_size=5, kernel_activation="identity")
    assert isinstance(layer.depthwise, AdaptiveConv2d)
    assert layer.depthwise.generator_size == (5, 5)
    assert layer.depthwise.kernel_activation == "identity"
    assert layer.depthwise.groups == 4
    assert layer.depthwise.bias is None
    assert sum(p.numel() for p in layer.parameters()) == 4 * 9 * (25 + 1) + 4 * 6 + 6


def test_type_and_device_reach_both_parts() -> None:
    layer = SeparableConv2d(4, 6, 3, depthwise=AdaptiveConv2d, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}


def test_drawing_its_parameters_anew_gives_other_ones() -> None:
    layer = SeparableConv2d(4, 6, 3)
    before = layer.pointwise.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.pointwise.weight, before)
    assert not layer.pointwise.bias.any()


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("out_channels must be divisible by groups")):
        SeparableConv2d(4, 6, 3, groups=4)
