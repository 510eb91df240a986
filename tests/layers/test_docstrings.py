"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest

import pytest
import torch

from lit_adaptconv.layers import (
    adaptive,
    condconv,
    decoupled_dynamic,
    deformable,
    dynamic_conv,
    dynamic_filter,
    involution,
    low_rank,
    odconv,
    residual,
    separable,
)

MODULES = [
    adaptive,
    condconv,
    decoupled_dynamic,
    deformable,
    dynamic_conv,
    dynamic_filter,
    involution,
    low_rank,
    odconv,
    residual,
    separable,
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_print_what_they_say(module: object) -> None:
    result = doctest.testmod(module, extraglobs={"torch": torch})
    assert result.attempted > 0
    assert result.failed == 0
