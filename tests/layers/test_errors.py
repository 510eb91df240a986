"""What the adaptive layers refuse, and that they say it in one line with the argument and its value."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.layers import LocalDynamicFilter2d, ResidualAdaptiveConv2d
from lit_adaptconv.layers.base import ConvLayer
from lit_adaptconv.layers.kinds import layer_classes

GENERATING = [AdaptiveConv2d, LowRankAdaptiveConv2d, ResidualAdaptiveConv2d, LocalDynamicFilter2d]
OTHERS = [layer for layer in layer_classes() if issubclass(layer, ConvLayer) and layer not in GENERATING]

BOTH: list[tuple[dict[str, Any], str]] = [
    ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
    ({"out_channels": -1}, "out_channels must be at least 1, got -1"),
    ({"groups": 0}, "groups must be at least 1, got 0"),
    ({"groups": 4}, "out_channels must be divisible by groups=4, got 6"),
    ({"groups": 3}, "in_channels must be divisible by groups=3, got 4"),
    ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
    ({"kernel_size": (3, 0)}, "kernel_size must be at least 1, got (3, 0)"),
    ({"kernel_size": (3, 3, 3)}, "kernel_size must be an int or a pair of ints, got (3, 3, 3)"),
    ({"kernel_size": 2.5}, "kernel_size must be an int or a pair of ints, got 2.5"),
    ({"generator_size": 0}, "generator_size must be at least 1, got 0"),
    ({"generator_size": "3"}, "generator_size must be an int or a pair of ints, got '3'"),
    ({"stride": 0}, "stride must be at least 1, got 0"),
    ({"dilation": (1, 0)}, "dilation must be at least 1, got (1, 0)"),
    ({"padding": -2}, "padding must be at least 0, got -2"),
    ({"padding": "full"}, "padding must be an int, a pair of ints, 'same' or 'valid', got 'full'"),
    ({"padding_mode": "mirror"}, "padding_mode must be one of zeros, reflect, replicate, circular, got 'mirror'"),
    ({"padding": "same", "stride": (1, 2)}, "padding='same' works with stride 1 only, got stride (1, 2)"),
]
FULL: list[tuple[dict[str, Any], str]] = [
    ({"kernel_activation": "relu"}, "kernel_activation must be one of tanh, identity, got 'relu'"),
    ({"kernel_activation": "sigmoid"}, "kernel_activation must be one of tanh, identity, got 'sigmoid'"),
    ({"output_activation": None}, "output_activation must be one of tanh, identity, got None"),
]
LOW: list[tuple[dict[str, Any], str]] = [
    ({"rank": 0}, "rank must be at least 1, got 0"),
    ({"gate_activation": "relu"}, "gate_activation must be one of tanh, sigmoid, identity, got 'relu'"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("layer", "arguments", "message"),
    [
        *((layer, *case) for layer in GENERATING for case in BOTH),
        *((layer, *case) for layer in OTHERS for case in BOTH if "generator_size" not in case[0]),
        *((AdaptiveConv2d, *case) for case in FULL),
        *((LowRankAdaptiveConv2d, *case) for case in LOW),
    ],
)
def test_a_bad_argument_is_refused_in_one_line_that_names_it(
    layer: type, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        layer(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **arguments})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("layer", GENERATING + OTHERS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8), "input must be (N, 4, H, W) or (4, H, W), got shape (8, 8)"),
        ((2, 3, 8, 8), "input must be (N, 4, H, W) or (4, H, W), got shape (2, 3, 8, 8)"),
        ((1, 2, 4, 8, 8), "input must be (N, 4, H, W) or (4, H, W), got shape (1, 2, 4, 8, 8)"),
        ((2, 4, 2, 8), "kernel of 3 pixels (size 3, dilation 1) is larger than the padded input of 2"),
    ],
)
def test_a_bad_input_is_refused_in_one_line_that_names_its_shape(
    layer: type, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        layer(4, 6, 3)(torch.zeros(shape))
