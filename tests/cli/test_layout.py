"""Channels last, mixed precision and the compiler: together and alone, with the same checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import same_state

from lit_adaptconv.train import ImageClassifier, load_run

from .conftest import Command
from .test_resume import assert_same_end

SMALL = ["--model.backbone", "ResNet8", "--model.width", "0.25", "--data.image_size", "12", "--trainer.max_epochs", "2"]
SMALL += ["--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]
KINDS = ["standard", "separable", "adaptive", "adaptive_low_rank"]
BF16 = ["--trainer.precision", "bf16-mixed"]
LAST = ["--model.channels_last", "true"]
COMPILED = ["--model.compile", "true"]


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> set[bool]:
    """Whether the first layers of networks saw channels last."""
    seen: set[bool] = set()
    convolve = nn.Conv2d.forward

    def seeing(self: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        if images.shape[1] == 3:
            last = images.is_contiguous(memory_format=torch.channels_last)
            seen.add(last and self.weight.is_contiguous(memory_format=torch.channels_last))
        return convolve(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", seeing)
    return seen


@pytest.mark.parametrize("last", [False, True])
def test_images_and_weights_are_laid_out_as_asked(last: bool, layouts: set[bool]) -> None:
    module = ImageClassifier(in_channels=3, image_size=(16, 16), channels_last=last)
    layouts.clear()  # counting FLOPs ran it too
    module(torch.randn(2, 3, 16, 16))
    assert layouts == {last}


def state(run: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(f"runs/{run}/1/checkpoints/last.ckpt", weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_are_the_same_with_and_without(fit: Command, kind: str) -> None:
    names = ["--model.kind", kind, "--run.id", "1"]
    assert fit(*SMALL, *names, "--run.name", "a", "--trainer.precision", "64-true") == 0
    assert fit(*SMALL, *names, "--run.name", "b", "--trainer.precision", "64-true", *LAST) == 0
    one, other = state("a")["state_dict"], state("b")["state_dict"]
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value.double(), other[name].double(), rtol=1e-6, atol=1e-9), name
    # each goes on from the other's checkpoint
    for run, options in (("a", [*LAST]), ("b", ["--model.channels_last", "false"])):
        checkpoint = ["--ckpt_path", f"runs/{run}/1/checkpoints/last.ckpt"]
        assert fit("--config", f"runs/{run}/1/config.yaml", *options, *checkpoint) == 0


@pytest.mark.slow
def test_a_run_that_continues_with_channels_last_ends_the_same(fit: Command, unchecked: None) -> None:
    few = [*SMALL, *LAST, *BF16, "--trainer.callbacks+=EMAWeightAveraging", "--model.scheduler", "null"]
    assert fit(*few, "--run.name", "a", "--run.id", "1") == 0
    assert fit(*few, "--run.name", "b", "--run.id", "1", "--trainer.max_epochs", "1") == 0
    assert fit("--run.name", "b", "--ckpt_path", "last", "--trainer.max_epochs", "2") == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["standard", "adaptive_low_rank"])
def test_precision_layout_and_compiler_work_together(fit: Command, kind: str, unchecked: None) -> None:
    names = ["--model.kind", kind, "--run.id", "1", *BF16, *LAST]
    assert fit(*SMALL, *names, "--run.name", "a") == 0
    assert fit(*SMALL, *names, "--run.name", "b", *COMPILED, "--trainer.callbacks+=EMAWeightAveraging") == 0
    one, other = state("a")["state_dict"], state("b")["current_model_state"]
    assert one.keys() == other.keys()
    for name, value in one.items():
        if value.is_floating_point():
            assert torch.allclose(value, other[name], atol=0.1), name
            assert value.dtype == torch.float32
    assert same_state(dict(load_run("runs/a/1", "last").module.state_dict()), one)
