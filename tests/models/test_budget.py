"""The widest network within a budget, against counts by hand and a search over all widths."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv, conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models.backbones import Backbone, CaffeLeNet, ConvNet, LeNet5
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.models.budget import CLOSE_ENOUGH, Fit, fit_budget

NETWORKS = {
    "lenet5": LeNet5,
    "caffe_lenet": CaffeLeNet,
    "convnet": ConvNet,
    "convnet4": partial(ConvNet, channels=(6, 8, 8, 8)),
    "convnet_deep": partial(ConvNet, channels=(4, 6, 8, 8, 10), pool_after=(1, 3), standard_first=True),
}


class Builder:
    """Builds one family, and counts how often it was asked to."""

    def __init__(self, network: str, channels: int = 1) -> None:
        self.network, self.channels, self.asked = NETWORKS[network], channels, 0
        self.devices: set[str] = set()

    def __call__(self, conv: Conv, width: Width) -> Backbone:
        self.asked += 1
        made = self.network(self.channels, 10, (28, 28), conv, width)
        self.devices.update(parameter.device.type for parameter in made.parameters())
        return made

    def count(self, conv: Conv, widths: tuple[int, ...]) -> int:
        with torch.device("meta"):
            return count_parameters(self(conv, widths))


def standard(budget: int, family: type[Backbone] = ConvNet) -> Fit:
    return fit_budget(lambda conv, width: family(conv=conv, width=width), nn.Conv2d, budget)


def test_only_trainable_parameters_count_and_a_shared_one_counts_once() -> None:
    layer = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(layer, nn.BatchNorm1d(4), layer)) == 3 * 4 + 4 + 2 * 4
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 12


@given(
    network=st.sampled_from(sorted(NETWORKS)),
    kind=st.sampled_from(sorted(kinds())),
    channels=st.sampled_from([1, 3]),
    exponent=st.floats(3.0, 5.5),
)
@settings(max_examples=25)
def test_the_network_uses_its_budget_and_never_exceeds_it(
    network: str, kind: str, channels: int, exponent: float
) -> None:
    build, conv = Builder(network, channels), conv_kind(kind)
    ones = (1,) * len(build(conv, 1.0).widths)
    budget = max(int(10**exponent), build.count(conv, ones))
    build.asked = 0
    fit = fit_budget(build, conv, budget)
    assert build.asked < 60
    assert fit.parameters == build.count(conv, fit.widths) <= budget
    if fit.parameters < CLOSE_ENOUGH * budget:
        wider = [tuple(w + (i == layer) for i, w in enumerate(fit.widths)) for layer in range(len(fit.widths))]
        assert all(build.count(conv, widths) > budget for widths in wider)


@pytest.mark.parametrize("budget", [500, 934, 1196, 2000, 5000])
def test_no_widths_at_all_use_much_more_of_the_budget(budget: int) -> None:
    def by_hand(a: int, b: int, c: int) -> int:
        return 9 * (a + a * b + b * c) + 2 * (a + b + c) + 10 * c + 10

    best = max(n for w in itertools.product(range(1, 40), repeat=3) if (n := by_hand(*w)) <= budget)
    fit = standard(budget)
    assert by_hand(*fit.widths) == fit.parameters  # type: ignore[call-arg]
    assert fit.parameters >= CLOSE_ENOUGH * best


@pytest.mark.parametrize(("kind", "budget"), [("standard", 934), ("condconv", 6_000), ("adaptive_low_rank", 500)])
def test_no_network_nearby_that_uses_the_budget_as_well_has_more_even_proportions(kind: str, budget: int) -> None:
    usual = (6, 8, 8, 8)
    build, conv = Builder("convnet4"), conv_kind(kind)
    fit = fit_budget(build, conv, budget)

    def unevenness(widths: tuple[int, ...]) -> float:
        proportions = [math.log(width / own) for width, own in zip(widths, usual, strict=True)]
        return max(proportions) - min(proportions)

    for offsets in itertools.product((-1, 0, 1), repeat=4):
        widths = tuple(max(1, width + offset) for width, offset in zip(fit.widths, offsets, strict=True))
        if CLOSE_ENOUGH * budget <= build.count(conv, widths) <= budget:
            assert unevenness(fit.widths) <= max(math.log(1.25), unevenness(widths) + 1e-9)


def test_the_usual_size_as_budget_gives_the_usual_network() -> None:
    fit = standard(61_706, LeNet5)
    assert (fit.widths, fit.parameters) == ((6, 16, 120, 84), 61_706)


def test_no_network_is_allocated_and_the_random_state_is_left_alone() -> None:
    build = Builder("lenet5")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fit_budget(build, conv_kind("adaptive"), 30_000)
    assert build.devices == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_budget_that_nothing_meets_names_the_smallest_network() -> None:
    smallest = 9 * 3 + 2 * 3 + 10 + 10
    message = rf"at most 52 parameters: the narrowest \(widths 1-1-1\) has {smallest}$"
    with pytest.raises(UserError, match=message):
        standard(smallest - 1)
    assert standard(smallest).widths == (1, 1, 1)
    with pytest.raises(UserError, match=r"at most 934 parameters.*has 1,350"):
        fit_budget(Builder("lenet5"), conv_kind("adaptive"), 934)


def test_a_backbone_whose_width_changes_nothing_is_refused() -> None:
    class Fixed(Backbone):
        widths = (4,)

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

    with pytest.raises(UserError, match="the width of Fixed changes no parameter, so no budget can be met with it"):
        fit_budget(lambda conv, width: Fixed(), nn.Conv2d, 100)
