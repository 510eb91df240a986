"""FLOPs against formulas written down by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.layers.separable import SeparableConv2d
from lit_adaptconv.measure.count import forward_flops

layers = given(
    group_in=st.integers(1, 3),
    group_out=st.integers(1, 3),
    groups=st.integers(1, 2),
    k=st.integers(1, 4),
    q=st.integers(1, 4),
    stride=st.integers(1, 2),
    side=st.integers(8, 11),
)


@layers
@settings(max_examples=20)
def test_full_rank_costs_a_generated_kernel_its_tanh_and_its_use(
    group_in: int, group_out: int, groups: int, k: int, q: int, stride: int, side: int
) -> None:
    c, o = group_in * groups, group_out * groups
    layer = AdaptiveConv2d(c, o, k, stride, groups=groups, generator_size=q)
    pixels = ((side - k) // stride + 1) ** 2
    assert (
        forward_flops(layer, (c, side, side))
        == 2 * pixels * o * group_in * k * k * (q * q + 1) + pixels * o * group_in * k * k
    )


@layers
@settings(max_examples=20)
def test_low_rank_costs_two_convolutions_and_a_product_each_rank(
    group_in: int, group_out: int, groups: int, k: int, q: int, stride: int, side: int
) -> None:
    c, o, rank = group_in * groups, group_out * groups, 1 + q % 3
    layer = LowRankAdaptiveConv2d(c, o, k, stride, groups=groups, generator_size=q, rank=rank)
    pixels = ((side - k) // stride + 1) ** 2
    costs = 2 * pixels * o * rank * (group_in * (k * k + q * q) + 1) + pixels * o * rank
    assert forward_flops(layer, (c, side, side)) == costs


def test_separable_costs_its_two_parts() -> None:
    assert forward_flops(SeparableConv2d(4, 6, 3), (4, 10, 10)) == 2 * 64 * (4 * 9 + 4 * 6)


@pytest.mark.parametrize("bias", [True, False])
def test_a_plain_network_costs_its_multiply_adds_and_activations(bias: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3, bias=bias), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 7, bias=bias))
    assert forward_flops(network, (3, 8, 8)) == 2 * (36 * 5 * 3 * 9 + 5 * 36 * 7) + 5 * 36


def test_counting_changes_nothing() -> None:
    network = nn.Sequential(AdaptiveConv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Conv2d(2, 2, 3))
    network[3].eval()
    modes = [m.training for m in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert forward_flops(network, (1, 8, 8)) == forward_flops(network, (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(m._forward_hooks for m in network.modules())


def test_a_network_on_the_meta_device_is_counted_too() -> None:
    with torch.device("meta"):
        network = nn.Conv2d(1, 2, 3)
    assert forward_flops(network, (1, 8, 8)) == 2 * 36 * 2 * 9
