"""The widest network within a budget, against counts by hand and a search over all widths."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lit_adaptconv.backbones import Backbone, CaffeLeNet, ConvNet, LeNet5
from lit_adaptconv.backbones.base import Width
from lit_adaptconv.budget import CLOSE_ENOUGH, count_parameters, fit_budget
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.conv import KINDS

NETWORKS = {
    "lenet5": LeNet5,
    "caffe_lenet": CaffeLeNet,
    "convnet": ConvNet,
    "convnet_deep": partial(ConvNet, channels=(4, 6, 8, 8, 10), pool_after=(1, 3), standard_first=True),
}


def builder(network: str, kind: str, channels: int = 1) -> tuple[list[Width], object]:
    """A build function for `fit_budget`, and the list of the widths that it is asked for."""
    asked: list[Width] = []

    def build(width: Width) -> Backbone:
        asked.append(width)
        return NETWORKS[network](channels, 10, (28, 28), KINDS[kind], width)

    return asked, build


def size(build: object, widths: tuple[int, ...]) -> int:
    with torch.device("meta"):
        return count_parameters(build(widths))  # type: ignore[operator]


def test_only_trainable_parameters_count_and_a_shared_one_counts_once() -> None:
    layer = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(layer, nn.BatchNorm1d(4), layer)) == 3 * 4 + 4 + 2 * 4
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 12


@given(
    network=st.sampled_from(sorted(NETWORKS)),
    kind=st.sampled_from(sorted(KINDS)),
    channels=st.sampled_from([1, 3]),
    exponent=st.floats(3.0, 5.5),
)
@settings(max_examples=25)
def test_the_network_uses_its_budget_and_never_exceeds_it(
    network: str, kind: str, channels: int, exponent: float
) -> None:
    budget = int(10**exponent)
    _, build = builder(network, kind, channels)
    budget = max(budget, size(build, (1,) * len(build(1.0).widths)))  # type: ignore[operator]
    fit = fit_budget(build, budget)  # type: ignore[arg-type]
    assert fit.parameters == size(build, fit.widths) <= budget
    if fit.parameters < CLOSE_ENOUGH * budget:
        wider = [tuple(w + (i == layer) for i, w in enumerate(fit.widths)) for layer in range(len(fit.widths))]
        assert all(size(build, widths) > budget for widths in wider)


@pytest.mark.parametrize("budget", [200, 500, 934, 1196, 2000, 5000])
def test_no_widths_at_all_use_much_more_of_the_budget(budget: int) -> None:
    def by_hand(a: int, b: int, c: int) -> int:
        return 9 * (a + a * b + b * c) + 2 * (a + b + c) + 10 * c + 10

    best = max(n for w in itertools.product(range(1, 40), repeat=3) if (n := by_hand(*w)) <= budget)
    fit = fit_budget(lambda width: ConvNet(width=width), budget)
    assert by_hand(*fit.widths) == fit.parameters  # type: ignore[call-arg]
    assert fit.parameters >= CLOSE_ENOUGH * best


def test_the_usual_size_as_budget_gives_the_usual_network() -> None:
    fit = fit_budget(lambda width: LeNet5(width=width), 61_706)
    assert (fit.widths, fit.parameters) == ((6, 16, 120, 84), 61_706)


@pytest.mark.parametrize(("network", "kind"), [("lenet5", "adaptive"), ("convnet_deep", "adaptive_low_rank")])
def test_few_networks_are_built_and_none_is_allocated(network: str, kind: str) -> None:
    asked, build = builder(network, kind)
    devices = set()

    def recording(width: Width) -> Backbone:
        made: Backbone = build(width)  # type: ignore[operator]
        devices.update(parameter.device.type for parameter in made.parameters())
        return made

    for budget in (1_350, 30_000, 1_000_000):
        asked.clear()
        fit_budget(recording, budget)
        assert len(asked) < 200
    assert devices == {"meta"}


def test_finding_a_width_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fit_budget(lambda width: LeNet5(width=width), 3_000)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_budget_that_nothing_meets_names_the_smallest_network() -> None:
    smallest = 9 * 3 + 2 * 3 + 10 + 10
    message = f"at most 52 parameters: the narrowest \\(widths 1-1-1\\) has {smallest}$"
    with pytest.raises(UserError, match=message):
        fit_budget(lambda width: ConvNet(width=width), smallest - 1)
    assert fit_budget(lambda width: ConvNet(width=width), smallest).widths == (1, 1, 1)


def test_a_backbone_whose_width_changes_nothing_is_refused() -> None:
    class Fixed(Backbone):
        widths = (4,)

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

    with pytest.raises(UserError, match="the width of Fixed changes no parameter, so no budget can be met with it"):
        fit_budget(lambda width: Fixed(), 100)
