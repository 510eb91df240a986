from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.backbones import Backbone, CaffeLeNet, ConvNet, LeNet5
from lit_adaptconv.backbones.base import Width
from lit_adaptconv.budget import count_parameters, fit_budget
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import conv_kind
from lit_adaptconv.layers.conv import Conv

BACKBONES = {"LeNet5": LeNet5, "CaffeLeNet": CaffeLeNet, "ConvNet": ConvNet}
CLASSIC = ["standard", "separable", "adaptive", "adaptive_separable", "adaptive_low_rank"]


class Builder:
    """Builds one family, and counts how often it was asked to."""

    def __init__(self, name: str) -> None:
        self.backbone, self.asked = BACKBONES[name], 0

    def __call__(self, conv: Conv, width: Width) -> Backbone:
        self.asked += 1
        return self.backbone(1, 10, (28, 28), conv, width)


@given(st.sampled_from(list(BACKBONES)), st.sampled_from(CLASSIC), st.integers(2_000, 300_000))
def test_the_network_is_within_its_budget_and_no_layer_can_be_widened(name: str, kind: str, budget: int) -> None:
    build, conv = Builder(name), conv_kind(kind)
    fit = fit_budget(build, conv, budget)
    assert build.asked < 50
    assert fit.parameters == count_parameters(build(conv, fit.widths)) <= budget
    if fit.parameters < 0.98 * budget:
        for layer in range(len(fit.widths)):
            wider = [w + (i == layer) for i, w in enumerate(fit.widths)]
            assert count_parameters(build(conv, wider)) > budget


def test_a_budget_that_nothing_meets_names_the_smallest_network() -> None:
    with pytest.raises(UserError, match=r"at most 934 parameters.*has 1,350"):
        fit_budget(Builder("LeNet5"), conv_kind("adaptive"), 934)


def test_frozen_parameters_do_not_count_and_shared_ones_count_once() -> None:
    model = LeNet5()
    model.head[1].requires_grad_(False)
    assert count_parameters(model) == 61_706 - 48_120
