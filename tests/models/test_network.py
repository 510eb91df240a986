"""The network of a classifier: a backbone of one kind, or any module, converted where that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from adaptconv_cli.main import main
from PIL import Image
from torch import nn
from training import digits, trainer

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import backbones
from lit_adaptconv.models.backbones import LeNet5, ResNet8, ResNet20
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.train.classifier import ImageClassifier

CONFIGS = Path(__file__).parents[2] / "configs"
QUIET = ["--run.wandb", "false", "--trainer.enable_progress_bar", "false", "--trainer.logger", "false"]


class Own(nn.Module):
    """A network of the user's own, which is no `Backbone`."""

    def __init__(self, classes: int = 10, channels: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, channels, 3), nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2))
        self.head = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(images).mean((2, 3)))
        return logits


def test_a_module_of_ones_own_is_converted_trained_and_saved(tmp_path: Path) -> None:
    model = ImageClassifier(
        Own(), convert=ConvertOptions("adaptive_low_rank", kind_options={"rank": 2}), image_size=(12, 12)
    )
    assert [type(m) for m in model.network.body if not isinstance(m, nn.ReLU)] == [LowRankAdaptiveConv2d] * 2
    assert model.kind == "adaptive_low_rank"
    assert model.kind_options == {"rank": 2}
    assert model.widths == ()
    assert model.parameter_count == count_parameters(model.network)
    run = trainer(max_epochs=1, default_root_dir=tmp_path)
    run.fit(model, digits())
    run.save_checkpoint(tmp_path / "own.ckpt")
    again = ImageClassifier(
        Own(), convert=ConvertOptions("adaptive_low_rank", kind_options={"rank": 2}), image_size=(12, 12)
    )
    tested = run.test(again, digits(), ckpt_path=tmp_path / "own.ckpt", weights_only=True, verbose=False)
    assert tested == run.test(model, digits(), verbose=False)


def test_a_backbone_can_be_converted_in_part() -> None:
    model = ImageClassifier(
        ResNet8, convert=ConvertOptions("adaptive", where="layer3"), in_channels=3, image_size=(32, 32)
    )
    adaptive = [name for name, m in model.network.named_modules() if isinstance(m, AdaptiveConv2d)]
    assert adaptive == ["layer3.0.conv1", "layer3.0.conv2"]
    assert model.widths == (16, 32, 64)


@pytest.mark.parametrize("kind", ["adaptive_low_rank", "involution"])
def test_a_budget_holds_for_the_converted_backbone(kind: str) -> None:
    model = ImageClassifier(
        ResNet20, budget=20_000, convert=ConvertOptions(kind, where=["layer2", "layer3"]), in_channels=3
    )
    assert 0.95 * 20_000 <= model.parameter_count <= 20_000
    assert model.budget == 20_000
    assert type(model.network.conv1) is nn.Conv2d
    assert type(model.network.layer2[0].conv1) is not nn.Conv2d


def test_the_budget_of_the_conversion_chooses_what_is_swapped() -> None:
    plain = count_parameters(LeNet5())
    model = ImageClassifier(LeNet5, convert=ConvertOptions("adaptive_low_rank", budget=plain + 1_000))
    assert plain < model.parameter_count <= plain + 1_000
    assert [type(m).__name__ for m in model.network.features[::3]] == ["LowRankAdaptiveConv2d", "Conv2d"]
    assert model.budget == plain + 1_000


def test_shared_hyperparameters_hold_no_module() -> None:
    model = ImageClassifier(Own(), convert=ConvertOptions("adaptive_low_rank"))
    assert not any(isinstance(value, (nn.Module, ConvertOptions)) for value in model.hparams.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"backbone": Own(), "kind": "adaptive"},
            "kind, width, budget and adaptive_in are for the backbones .* for Own give .*",
        ),
        ({"backbone": Own(), "budget": 500}, "kind, width, budget and adaptive_in are for the backbones .*"),
        ({"backbone": Own(7)}, r"Own must give logits of shape \(1, 10\) for one image, got \(1, 7\)"),
        ({"backbone": Own(), "in_channels": 3}, "Own does not take images of 3×28×28: .*"),
        ({"backbone": nn.LSTM(28, 10)}, "LSTM does not take images of 1×28×28: .*"),
        ({"convert": ConvertOptions("adaptve")}, "unknown conv kind 'adaptve'; .*"),
        (
            {"kind": "separable", "convert": ConvertOptions("adaptive")},
            "give one conv kind: got kind 'separable' and convert.kind 'adaptive'",
        ),
        (
            {"budget": 70_000, "convert": ConvertOptions("adaptive", budget=70_000)},
            "give budget, to choose the widths, or convert.budget, to choose what is swapped; not both",
        ),
    ],
)
def test_options_that_do_not_go_together_are_answered_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$") as caught:
        ImageClassifier(**arguments)
    assert "\n" not in str(caught.value)


def test_the_command_converts_a_class_that_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fit = ["fit", *QUIET, "--data.image_size", "12", "--trainer.max_steps", "2", "--trainer.limit_val_batches", "1"]
    own = ["--model.backbone", f"{Own.__module__}.Own", "--model.backbone.classes"]
    convert = ["--model.convert.kind", "adaptive_low_rank", "--model.convert.where", "body.2"]
    assert main([*fit, *own, "10", *convert]) == 0
    result = next(tmp_path.glob("runs/digits-own-adaptive_low_rank/*/result.json")).read_text()
    assert f'"parameters": {count_parameters(Own()) + 4 * (4 * 9 + 1)}' in result
    capsys.readouterr()
    assert main([*fit, *own, "9", *convert]) == 1
    assert main([*fit, *own, "10", *convert[:2], "--model.convert.where", "bodi.*"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "adaptconv: error: Own must give logits of shape (1, 10) for one image, got (1, 9)",
        "adaptconv: error: no convolution matches 'bodi.*'; did you mean 'body'? there are 2: body.0, body.2",
    ]


def test_the_command_takes_a_model_of_torchvisions_by_its_function(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photographs.parent)
    arguments = [
        *("--model.backbone", "torchvision.models.squeezenet1_1", "--model.backbone.num_classes", "3"),
        *("--model.convert.kind", "adaptive_low_rank", "--model.convert.where", "features.0"),
        *(
            "--data",
            "ImageFolder",
            "--data.root",
            str(photographs),
            "--data.image_size",
            "40",
            "--data.batch_size",
            "4",
        ),
        *("--trainer.max_steps", "1"),
    ]
    assert main(["fit", *QUIET, *arguments]) == 0


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of a few generated images of three classes, sorted as ImageNet is."""
    root = tmp_path / "photographs"
    for lighter, (split, count) in zip((0, 6, 8), (("train", 6), ("val", 2), ("test", 2)), strict=True):
        for label, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)]):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (60 + 4 * index, 52), tuple(c + lighter + index for c in colour)).save(
                    folder / f"{index}.png"
                )
    return root


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            path,
            id=f"{path.parent.name}-{path.stem}",
            marks=[] if path.stem == "resnet8_adaptive_low_rank" else pytest.mark.slow,
        )
        for folder in ("cifar10", "imagenet")
        for path in sorted((CONFIGS / folder).glob("*.yaml"))
    ],
)
def test_every_config_trains_its_first_steps_on_a_few_generated_images(
    config: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photographs.parent)
    data = ["--data", "ImageFolder", "--data.root", str(photographs), "--data.batch_size", "4"]
    if config.parent.name == "cifar10":
        data += ["--data.image_size", "32"]
    else:
        data += ["--data.num_workers", "1", "--data.image_size", "64"]
    one = ["--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.strategy", "auto"]
    assert main(["fit", "--config", str(config), *data, *one, *QUIET, "--trainer.max_steps", "2"]) == 0


@pytest.mark.parametrize(
    ("folder", "standard", "adaptive", "num_classes", "size"),
    [
        ("cifar10", "resnet18_standard", "resnet18_adaptive", 10, 32),
        ("cifar10", "resnet20_standard", "resnet20_adaptive", 10, 32),
        ("cifar10", "resnet20_standard", "resnet20_adaptive_low_rank", 10, 32),
        ("cifar10", "resnet8_standard", "resnet8_adaptive_low_rank", 10, 32),
        ("imagenet", "resnet18_standard", "resnet18_adaptive", 1000, 224),
    ],
)
def test_an_adaptive_config_has_its_standard_counterparts_size_as_budget(
    folder: str, standard: str, adaptive: str, num_classes: int, size: int
) -> None:
    first, second = (yaml.safe_load((CONFIGS / folder / f"{name}.yaml").read_text()) for name in (standard, adaptive))
    build = getattr(backbones, first["model"]["backbone"])
    with torch.device("meta"):
        assert second["model"]["budget"] == count_parameters(build(3, num_classes, (size, size)))
    for config in (first, second):
        config["model"] = {name: config["model"].get(name) for name in ("optimizer", "scheduler")}
    assert first == second


def test_a_model_of_torchvisions_keeps_its_outputs_in_a_classifier() -> None:
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(num_classes=10).eval()
    images = torch.randn(2, 3, 40, 40)
    before = network(images)
    model = ImageClassifier(
        network, convert=ConvertOptions("adaptive_residual", warm_start=True), in_channels=3, image_size=(40, 40)
    )
    torch.testing.assert_close(model(images), before, rtol=1e-5, atol=1e-5)
