from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import AdaptiveConv2d
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.backbones import ConvNet


def test_the_default_has_1196_parameters() -> None:
    # 3×3 convolutions without bias, BatchNorm's scale and shift, a linear layer
    convolutions, norms, linear = 9 * (1 * 6 + 6 * 8 + 8 * 8), 2 * (6 + 8 + 8), 8 * 10 + 10
    assert convolutions + norms + linear == 1196
    assert count_parameters(ConvNet()) == 1196


@pytest.mark.sampled(5)
@pytest.mark.parametrize("kind", kinds())
def test_every_kind_maps_any_image_to_logits_and_learns_from_it(kind: str) -> None:
    for padding, activation in itertools.product(("same", "valid"), ("relu", "leaky_relu", "identity")):
        network = ConvNet(
            3, 5, (20, 31), conv_kind(kind), channels=(2, 3), pool_after=(0,), padding=padding, activation=activation
        )
        logits = network(torch.randn(2, 3, 20, 31))
        assert logits.shape == (2, 5)
        logits.sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_first_block_can_stay_standard() -> None:
    network = ConvNet(conv=conv_kind("adaptive"), standard_first=True)
    layers = [type(block.conv) for block in network.blocks]
    assert layers == [nn.Conv2d, AdaptiveConv2d, AdaptiveConv2d]


def test_pooling_halves_the_image_where_told() -> None:
    network = ConvNet(channels=(2, 2, 2), pool_after=(1,))
    assert network.blocks(torch.randn(1, 1, 28, 28)).shape == (1, 2, 14, 14)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("kind", kinds())
def test_the_memory_layout_changes_speed_and_nothing_else(kind: str) -> None:
    networks = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        networks.append(ConvNet(3, 5, (12, 13), conv_kind(kind), channels=(4, 6), channels_last=channels_last).double())
    usual, last = networks
    assert last.state_dict().keys() == usual.state_dict().keys()
    images = torch.randn(3, 3, 12, 13, dtype=torch.float64)
    gradients = []
    for network in networks:
        logits = network(images)
        logits.square().sum().backward()
        gradients.append([logits, *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_pixels_are_neighbours_in_memory_where_asked() -> None:
    for channels_last in (False, True):
        network = ConvNet(3, channels=(4, 6), channels_last=channels_last)
        seen: list[bool] = []
        network.pool.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        network(torch.randn(2, 3, 12, 12))
        assert seen == [channels_last]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool_after": (3,)}, r"pool_after must name blocks from 0 to 2, got \[3\]"),
        ({"pool_after": (-1,)}, r"pool_after must name blocks from 0 to 2, got \[-1\]"),
        ({"image_size": (3, 28)}, "images of 3×28 are too small: block 1 has no pixel left"),
        ({"image_size": (5, 28), "padding": "valid"}, "images of 5×28 are too small: block 1 has no pixel left"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"channels": ()}, r"channels must be one or more positive integers, got \[\]"),
        ({"channels": (4, 0, 4)}, r"channels must be one or more positive integers, got \[4, 0, 4\]"),
    ],
)
def test_a_network_without_pixels_or_channels_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        ConvNet(**arguments)
