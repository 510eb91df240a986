"""Averaged weights: what is evaluated, tested and kept is the average, and a run that was stopped ends the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adaptconv_cli.main import main
from lightning.pytorch.callbacks import EMAWeightAveraging

from lit_adaptconv.train import ImageClassifier, load_run
from lit_adaptconv.train.result import RunResult

from .conftest import Command
from .test_bad_input import one_line
from .test_resume import assert_same_end

EMA = ["--trainer.callbacks+=EMAWeightAveraging", "--trainer.callbacks.decay", "0.8"]
SMALL = ["--model.backbone", "ResNet8", "--model.width", "0.25", "--data.image_size", "12", "--trainer.max_epochs", "3"]
SMALL += ["--trainer.limit_train_batches", "4", "--data.shift", "1", "--data.val_size", "0.1"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The network after each step."""
    seen: list[dict[str, torch.Tensor]] = []
    update = EMAWeightAveraging.on_train_batch_end

    def keeping(self: Any, trainer: Any, module: Any, *args: Any) -> None:
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        update(self, trainer, module, *args)

    monkeypatch.setattr(EMAWeightAveraging, "on_train_batch_end", keeping)
    return seen


def test_the_last_checkpoint_the_last_evaluation_and_the_test_are_those_of_the_average(
    fit: Command, steps: list[dict[str, torch.Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*SMALL, *EMA, "--run.name", "a", "--run.id", "1") == 0
    out = capsys.readouterr().out
    assert "averaged by EMAWeightAveraging" in out
    assert "All are of the weights that EMAWeightAveraging averaged." in " ".join(out.split())
    average = steps[0]
    for step in steps[1:]:  # of batch normalisation's statistics too
        average = {k: 0.8 * average[k] + 0.2 * v if v.is_floating_point() else v for k, v in step.items()}
    kept = torch.load("runs/a/1/checkpoints/last.ckpt", weights_only=True)
    for name, value in average.items():
        if value.is_floating_point():
            assert torch.allclose(kept["state_dict"][name], value, rtol=1e-5, atol=1e-6), name
            assert torch.equal(kept["current_model_state"][name], steps[-1][name]), name
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert result.averaging == "EMAWeightAveraging"
    for stage, value in (("validate", result.val_value), ("test", result.test_value)):
        assert (
            main([stage, "--ckpt_path", "runs/a/1/checkpoints/last.ckpt", "--trainer.enable_progress_bar=false"]) == 0
        )
        said = capsys.readouterr()
        assert f" {100 * (value or 0):.2f} %" in said.out
        assert "WeightAveraging" not in said.err
    module = load_run("runs/a/1", "last").module
    assert all(torch.equal(value, kept["state_dict"][name]) for name, value in module.state_dict().items())


def test_averages_at_the_ends_of_epochs_come_after_the_evaluation_and_are_refused(
    fit: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*SMALL, *EMA, "--trainer.callbacks.update_starting_at_epoch", "1") == 1
    assert "give update_starting_at_step" in one_line(capsys)


class Stopped:
    """Ends the process at a moment, as a signal would."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def method(*args: Any) -> Any:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return original(*args)

        return method


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "call"), [("training_step", 11), ("test_step", 1), ("training_step", 7), ("validation_step", 6)]
)
def test_a_run_with_averages_that_was_stopped_ends_as_the_undisturbed_one(
    fit: Command, method: str, call: int, monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    assert fit(*SMALL, *EMA, "--run.name", "a", "--run.id", "1") == 0
    with monkeypatch.context() as stopped:
        stopped.setattr(ImageClassifier, method, Stopped(call)(getattr(ImageClassifier, method)))
        assert fit(*SMALL, *EMA, "--run.name", "b", "--run.id", "1") == 130
    assert fit("--run.name", "b", "--ckpt_path", "last") == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))


@pytest.mark.parametrize("first", ["EMAWeightAveraging", "ConvertConvolutions"])
def test_a_conversion_comes_before_the_average_wherever_it_stands(fit: Command, first: str) -> None:
    convert = ["--trainer.callbacks+=lit_adaptconv.train.ConvertConvolutions", "--trainer.callbacks.kind", "separable"]
    both = [*EMA, *convert] if first == "EMAWeightAveraging" else [*convert, *EMA]
    assert fit(*SMALL, *both, "--run.name", "a", "--run.id", "1") == 0
    kept = torch.load("runs/a/1/checkpoints/last.ckpt", weights_only=True)
    assert kept["state_dict"].keys() == kept["current_model_state"].keys()
