"""Layers by name: what a text means, and what is wrong with a bad one."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from lit_adaptconv import AdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.candidate import Candidate, Shape, Step
from lit_adaptconv.ops.choice import VARIABLE

SHAPE = Shape(2, 4, 6, (7, 5), (3, 3), padding=(1, 1), groups=2)


def test_a_name_holds_kind_implementation_and_options() -> None:
    candidate = Candidate.parse("adaptive@reference:generator_size=5,kernel_activation=identity")
    assert (candidate.kind, candidate.implementation) == ("adaptive", "reference")
    layer = candidate.build(SHAPE)
    assert isinstance(layer, AdaptiveConv2d)
    assert layer.generator_size == (5, 5)
    assert layer.kernel_activation == "identity"
    assert layer.groups == 2


def test_a_candidate_may_have_other_groups_than_the_shape() -> None:
    layer = Candidate.parse("standard:groups=1").build(SHAPE)
    assert isinstance(layer, nn.Conv2d)
    assert layer.weight.shape == (6, 4, 3, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("adaptiv", ["adaptiv", "known kinds", "adaptive_low_rank"]),
        ("adaptive@fast", ["fast", "reference"]),
        ("adaptive:size=5", ["size", "generator_size"]),
        ("adaptive:generator_size", ["option=value", "generator_size"]),
        ("adaptive:generator_size=[1", ["generator_size"]),
    ],
)
def test_a_bad_name_is_one_line_that_says_what_would_be_right(text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        Candidate.parse(text)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("standard", Shape(2, 4, 6, (7, 5), (3, 3), groups=4)),
        ("adaptive", Shape(2, 4, 6, (2, 2), (3, 3))),
        ("adaptive_low_rank:rank=0", SHAPE),
        ("adaptive_low_rank:rank=two", SHAPE),
        ("adaptive@gpu", SHAPE),
    ],
)
def test_what_cannot_be_built_or_run_is_told_with_the_layers_name(text: str, shape: Shape) -> None:
    with pytest.raises(UserError, match=f"^{text}: "):
        Step.of(Candidate.parse(text), shape)


def test_a_step_computes_what_the_layer_does_and_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "cpu")
    step = Step.of(Candidate.parse("adaptive@reference"), SHAPE)
    step.training()
    assert os.environ[VARIABLE] == "cpu"
    got = [step.input.grad, *(p.grad for p in step.layer.parameters())]
    step.input.grad = None
    step.layer.zero_grad()
    step.layer(step.input).sum().backward()
    for mine, theirs in zip(got, [step.input.grad, *(p.grad for p in step.layer.parameters())], strict=True):
        assert mine is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
