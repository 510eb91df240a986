"""Parts of a network that are not trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.main import main
from training import digits, trainer

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import ConvNet, DropoutLeNet
from lit_adaptconv.train.classifier import ImageClassifier


def classifier(freeze: Any, **options: Any) -> ImageClassifier:
    torch.manual_seed(0)
    data: dict[str, Any] = {"in_channels": 1, "image_size": (8, 8)}
    return ImageClassifier(ConvNet, "adaptive_low_rank", freeze=freeze, **data, **options)


@pytest.mark.parametrize("freeze", ["blocks.0", ["blocks.0.conv", "head"], "*.conv", ["blocks"], "blocks.1.conv.gate*"])
def test_frozen_parts_keep_their_weights_and_all_others_learn(freeze: str | list[str], tmp_path: Path) -> None:
    model = classifier(freeze)
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    frozen = {name for name, value in model.network.named_parameters() if not value.requires_grad}
    assert 0 < len(frozen) < len(before)
    trainer(default_root_dir=tmp_path, max_epochs=1).fit(model, digits(image_size=8))
    moved = {name for name, value in model.network.named_parameters() if not torch.equal(value, before[name])}
    assert moved == set(before) - frozen


def test_frozen_parameters_are_none_that_are_trained_and_cost_less_to_train() -> None:
    whole, part = classifier(None), classifier("blocks.0.conv")
    assert whole.parameter_count - part.parameter_count == count_parameters(
        whole.network.get_submodule("blocks.0.conv")
    )
    assert part.flops == whole.flops
    assert part.training_flops < whole.training_flops


def test_a_budget_counts_what_is_frozen() -> None:
    whole, part = (classifier(freeze, budget=1_000) for freeze in (None, "blocks.0"))
    assert part.widths == whole.widths
    assert part.parameter_count < whole.parameter_count <= 1_000


def test_the_released_network_has_the_parameters_that_its_code_counts() -> None:
    """The generator is in no list of parameters there; its layer has no bias of its own, ours has six."""
    model = ImageClassifier(DropoutLeNet, "adaptive", adaptive_in="first", freeze="features.0")
    assert model.parameter_count == 133_660
    assert ImageClassifier(DropoutLeNet, "adaptive", adaptive_in="first").parameter_count == 133_660 + 3_900 + 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("block", "ConvNet has no 'block'; give names of these: blocks, blocks.0, blocks.0.conv, .*, head"),
        (["head", "x*", "y"], r"ConvNet has no 'x\*' or 'y'; give names of these: .*"),
        ([], "it is empty; give names of these: .*"),
    ],
)
def test_a_part_that_is_not_there_is_answered_with_those_that_are(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^freeze: {message}$"):
        classifier(given)


def test_a_network_of_which_nothing_is_trained_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="^freeze: nothing of ConvNet is left to train$"):
        classifier("*")


@pytest.mark.parametrize(
    ("given", "kept"), [("blocks.0", "blocks.0"), ("[head, blocks.0.conv]", ["head", "blocks.0.conv"])]
)
def test_the_command_takes_a_pattern_or_a_list(given: str, kept: str | list[str], tmp_path: Path) -> None:
    run = ["--run.root", str(tmp_path), "--run.name", "here", "--run.wandb", "false", "--trainer.logger", "false"]
    steps = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--model.backbone", "ConvNet", "--model.freeze", given, *run, *steps]) == 0
    (config,) = tmp_path.glob("here/*/config.yaml")
    assert yaml.safe_load(config.read_text())["model"]["freeze"] == kept
