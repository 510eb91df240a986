"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest
import torch
from test_public import PUBLIC
from torch import nn

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    {
        value.__module__
        for value in (getattr(importlib.import_module(room), name) for room, name in PUBLIC)
        if inspect.isfunction(value) or inspect.isclass(value)
    }
)
WITHOUT = {
    "lit_adaptconv.data.base": "what derives from it has examples",
    "lit_adaptconv.data.cifar": "needs files",
    "lit_adaptconv.data.folder": "needs images",
    "lit_adaptconv.data.huggingface": "needs files",
    "lit_adaptconv.data.loader": "data modules make it",
    "lit_adaptconv.data.mnist": "needs files",
    "lit_adaptconv.data.torchvision": "needs files",
    "lit_adaptconv.export.executorch": "as `to_onnx`",
    "lit_adaptconv.export.litert": "as `to_onnx`",
    "lit_adaptconv.export.quantize": "needs images",
    "lit_adaptconv.train.loading": "needs a run",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_print_what_they_say(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where docs/results is
    result = doctest.testmod(importlib.import_module(module), extraglobs={"torch": torch, "nn": nn, "Path": Path})
    assert result.failed == 0
    assert bool(result.attempted) is (module not in WITHOUT)
