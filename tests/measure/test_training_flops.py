"""FLOPs of a training step against gradients counted one by one, and FLOPs of what is no convolution."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.functional import adaptive_conv2d
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure import count
from lit_adaptconv.measure.count import Flops, count_flops, flops_of
from lit_adaptconv.ops.choice import VARIABLE


def products(network: nn.Module, images: Tensor) -> int:
    """FLOPs of the products in a training step, as PyTorch counts them in what autograd computes."""
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    return int(counter.get_total_flops())


@given(
    channels=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    frozen=st.lists(st.booleans(), min_size=4, max_size=4),
    linear=st.booleans(),
    adaptive=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_products_are_those_of_the_gradients_that_autograd_computes(
    channels: list[int], frozen: list[bool], linear: bool, adaptive: bool
) -> None:
    made: list[nn.Module] = []
    for k, (a, b) in enumerate(pairwise(channels)):
        kind = AdaptiveConv2d if adaptive and k == 1 else nn.Conv2d
        made.append(kind(a, b, 3, padding=1, **({"kernel_activation": "identity"} if kind is AdaptiveConv2d else {})))
    if linear:
        made += [nn.Flatten(), nn.Linear(channels[-1] * 36, 3)]
    network = nn.Sequential(*made)
    for layer, still in zip([m for m in made if any(True for _ in m.parameters())], frozen, strict=False):
        layer.requires_grad_(not still)
    if not any(p.requires_grad for p in network.parameters()):
        return
    counted = count_flops(network, (channels[0], 6, 6))
    assert counted.training == products(network, torch.randn(1, channels[0], 6, 6))


@pytest.mark.parametrize("kind", [kind for kind in kinds() if not kind.endswith("separable") and kind != "lsconv"])
def test_products_of_every_kind_are_those_that_autograd_computes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depthwise layers are left out: of their weights' gradients PyTorch counts those between all channels."""
    conv = conv_kind(kind)
    network = nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU(), conv(4, 4, 3, stride=2)).eval()
    monkeypatch.setattr(count, "_other_flops", lambda *args: 0)
    for layer in network.modules():
        if hasattr(layer, "extra_flops"):
            monkeypatch.setattr(type(layer), "extra_flops", lambda *args: 0)
    assert count_flops(network, (3, 9, 9)).training == products(network, torch.randn(1, 3, 9, 9))


def test_a_depthwise_layer_costs_three_times_its_forward_pass() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4))
    first, second = 2 * 36 * 4 * 9, 2 * 16 * 4 * 9
    assert count_flops(network, (4, 8, 8)) == Flops(first + second, 2 * first + 3 * second)


def test_the_first_layer_needs_no_gradient_for_its_input() -> None:
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
    costs = [2 * 36 * 4 * 27, 2 * 16 * 5 * 36]
    assert count_flops(nn.Sequential(first, second), (3, 8, 8)) == Flops(sum(costs), 2 * costs[0] + 3 * costs[1])


def test_what_is_frozen_needs_no_gradient_and_nothing_before_it_costs_a_backward_pass() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    costs = [2 * 36 * 4 * 27, 4 * 36, 2 * 16 * 5 * 36]
    network[0].requires_grad_(False)
    assert count_flops(network, (3, 8, 8)).training == costs[0] + costs[1] + 2 * costs[2]
    network.requires_grad_(False)
    assert count_flops(network, (3, 8, 8)) == Flops(sum(costs), sum(costs))
    network[0].requires_grad_(True)
    assert count_flops(network, (3, 8, 8)).training == 2 * (costs[0] + costs[1]) + 2 * costs[2]


def test_a_shared_parameter_costs_what_each_layer_computes_with_it() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    cost = 2 * 64 * 3 * 27
    assert count_flops(nn.Sequential(layer, layer, layer), (3, 8, 8)) == Flops(3 * cost, 2 * cost + 3 * cost + 3 * cost)


class Detached(nn.Module):
    """Two convolutions, between which gradients stop."""

    def __init__(self, quietly: bool) -> None:
        super().__init__()
        self.first, self.second, self.quietly = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), quietly

    def forward(self, x: Tensor) -> Tensor:
        if not self.quietly:
            return self.second(self.first(x).detach())
        with torch.no_grad():
            x = self.first(x)
        return self.second(x)


def test_where_gradients_stop_nothing_goes_back() -> None:
    first, second = 2 * 36 * 9, 2 * 16 * 9
    assert count_flops(Detached(True), (1, 8, 8)).training == first + 2 * second
    assert count_flops(Detached(False), (1, 8, 8)).training == 2 * first + 2 * second  # known from the graph alone


ACTIVATIONS = [
    *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.SELU(), nn.CELU()),
    *(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh()),
    *(nn.Softplus(), nn.LogSigmoid(), nn.Softmax(1), nn.LogSoftmax(1), nn.Threshold(0.0, 0.0), nn.Softshrink()),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: repr(a))
def test_an_activation_counts_one_for_each_element(activation: nn.Module) -> None:
    assert count_flops(activation, (4, 8, 8)).forward == 4 * 64
    behind = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), activation)
    product = 2 * 64 * 8
    parameters = len(list(activation.parameters()))
    assert count_flops(behind, (2, 8, 8)) == Flops(product + 256, 2 * product + (2 + parameters) * 256)


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm([4, 8, 8]), nn.InstanceNorm2d(4)],
    ids=lambda n: repr(n),
)
def test_normalisation_counts_two_for_each_element(norm: nn.Module) -> None:
    assert count_flops(norm, (4, 8, 8)).forward == 2 * 4 * 64


@pytest.mark.parametrize(
    ("pool", "reads"),
    [
        (nn.MaxPool2d(2), 4 * 16 * 4),
        (nn.MaxPool2d(3, 2, 1), 4 * 16 * 9),
        (nn.AvgPool2d((2, 1)), 4 * 32 * 2),
        (nn.AdaptiveAvgPool2d(1), 4 * 64),
        (nn.AdaptiveAvgPool2d(2), 4 * 64),
        (nn.AdaptiveMaxPool2d(1), 4 * 64),
    ],
    ids=repr,
)
def test_pooling_counts_what_it_reads(pool: nn.Module, reads: int) -> None:
    assert count_flops(pool, (4, 8, 8)).forward == reads


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.bias = nn.Conv2d(4, 4, 3, padding=1), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.layer(x).clone() + self.bias[:, None, None])


def test_a_residual_branch_counts_its_addition_and_a_bias_is_free() -> None:
    assert count_flops(Residual(), (4, 8, 8)).forward == 2 * 64 * 4 * 36 + 4 * 64


class Shifted(nn.Module):
    """A linear layer whose bias is added apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.bias = nn.Linear(3, 4, bias=False), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) + self.bias
        return out


def test_a_bias_is_free_where_there_is_one_pixel_too() -> None:
    assert count_flops(Shifted(), (3,)).forward == count_flops(nn.Linear(3, 4), (3,)).forward == 24


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_what_surrounds_the_count_does_not_matter(mode: Callable[[], AbstractContextManager[None]]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), AdaptiveConv2d(2, 2, 3))
    known = count_flops(network, (1, 8, 8))
    with mode():
        assert count_flops(network, (1, 8, 8)) == known


class Functional(nn.Module):
    def __init__(self, layer: AdaptiveConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        a = self.layer
        return adaptive_conv2d(
            x, a.generator_weight, a.generator_bias, a.bias, kernel_size=3, kernel_activation=a.kernel_activation
        )


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("behind", [True, False])
def test_fused_and_plain_layers_and_functions_count_the_same(
    activation: str, bias: bool, behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = AdaptiveConv2d(3, 4, 3, bias=bias, kernel_activation=activation)  # type: ignore[arg-type]
    terms, pixels = 4 * 27, 16 if behind else 36
    before = [nn.Conv2d(3, 3, 3)] if behind else []
    fixed = 2 * 36 * 3 * 27 if behind else 0
    tanh = terms * pixels if activation == "tanh" else 0
    forward = 2 * pixels * terms * (9 + 1) + tanh
    costs = Flops(fixed + forward, 2 * fixed + (3 if behind else 2) * forward)
    monkeypatch.setenv(VARIABLE, "reference")
    assert count_flops(nn.Sequential(*before, layer), (3, 8, 8)) == costs
    assert count_flops(nn.Sequential(*before, Functional(layer)), (3, 8, 8)).forward == costs.forward
    monkeypatch.setenv(VARIABLE, "cpu")
    assert count_flops(nn.Sequential(*before, layer), (3, 8, 8)) == costs
    assert count_flops(nn.Sequential(*before, Functional(layer)), (3, 8, 8)) == costs


def test_counting_needs_no_gradient_of_what_is_left_behind() -> None:
    network = nn.Sequential(LowRankAdaptiveConv2d(1, 2, 3), nn.BatchNorm2d(2))
    count_flops(network, (1, 8, 8))
    assert all(p.grad is None for p in network.parameters())


def test_a_compiled_network_counts_what_was_written() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    known = count_flops(network, (1, 8, 8))
    network.compile(backend="eager")
    assert count_flops(network, (1, 8, 8)) == known


def test_a_module_that_knows_its_forward_pass_alone_trains_for_three() -> None:
    module = nn.Conv2d(1, 1, 1)
    assert flops_of(module) is None
    module.flops = 5
    assert flops_of(module) == Flops(5, 15)
    module.training_flops = 11
    assert flops_of(module) == Flops(5, 11)
