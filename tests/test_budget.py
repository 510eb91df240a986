from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.backbones import Backbone, CaffeLeNet, ConvNet, LeNet5
from lit_adaptconv.backbones.base import Width
from lit_adaptconv.budget import count_parameters, fit_budget
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import conv_kind

BACKBONES = {"LeNet5": LeNet5, "CaffeLeNet": CaffeLeNet, "ConvNet": ConvNet}
CLASSIC = ["standard", "separable", "adaptive", "adaptive_separable", "adaptive_low_rank"]


def builder(name: str, kind: str) -> tuple[list[Width], object]:
    asked: list[Width] = []

    def build(width: Width) -> Backbone:
        asked.append(width)
        return BACKBONES[name](1, 10, (28, 28), conv_kind(kind), width)

    return asked, build


@given(st.sampled_from(list(BACKBONES)), st.sampled_from(CLASSIC), st.integers(2_000, 300_000))
def test_the_network_is_within_its_budget_and_no_layer_can_be_widened(name: str, kind: str, budget: int) -> None:
    asked, build = builder(name, kind)
    fit = fit_budget(build, budget)
    assert len(asked) < 300
    assert fit.parameters == count_parameters(build(fit.widths)) <= budget
    if fit.parameters < 0.98 * budget:
        for layer in range(len(fit.widths)):
            wider = [w + (i == layer) for i, w in enumerate(fit.widths)]
            assert count_parameters(build(wider)) > budget


def test_a_budget_that_nothing_meets_names_the_smallest_network() -> None:
    _, build = builder("LeNet5", "adaptive")
    with pytest.raises(UserError, match=r"at most 934 parameters.*has 1,350"):
        fit_budget(build, 934)


def test_frozen_parameters_do_not_count_and_shared_ones_count_once() -> None:
    model = LeNet5()
    model.head[1].requires_grad_(False)
    assert count_parameters(model) == 61_706 - 48_120
