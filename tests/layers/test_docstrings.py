"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch

from lit_adaptconv.layers.kinds import layer_classes

MODULES = sorted({layer.__module__ for layer in layer_classes()})


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_print_what_they_say(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), extraglobs={"torch": torch})
    assert result.attempted > 0
    assert result.failed == 0
