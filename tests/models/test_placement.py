"""Where a backbone's layers of its kind stand: in all places, the first, the last, or those with some names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.main import main
from hypothesis import given, settings
from hypothesis import strategies as st
from short_networks import BACKBONES, SHORT
from sweep_cases import maker, plan
from torch import nn
from training import same_state

from lit_adaptconv import KernelWarehouseConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.data import Digits
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv, conv_kind
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models import ConvNet, LeNet5, ResNet8, ResNet20, convert
from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.models.budget import CLOSE_ENOUGH
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.models.parameter_formula import on_meta
from lit_adaptconv.models.placement import AdaptiveIn, placed
from lit_adaptconv.sweep.plan import Arm
from lit_adaptconv.sweep.sizing import networks, sizes
from lit_adaptconv.train.classifier import ImageClassifier

LOW_RANK = conv_kind("adaptive_low_rank")


def build(network: Any, adaptive_in: AdaptiveIn, conv: Conv = LOW_RANK, width: Width = 0.2, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    made: Backbone = placed(network, adaptive_in)(3, 10, (32, 32), conv, width)
    return made


def names_of(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, LowRankAdaptiveConv2d)]


PLACES = {network: names_of(on_meta(lambda n=network: n(3, 10, (32, 32), LOW_RANK, 0.2))) for network in BACKBONES}  # type: ignore[misc]
PLACES |= {network: names_of(on_meta(lambda n=network: n(3, 10, (32, 32), LOW_RANK, 0.2))) for network in SHORT}  # type: ignore[misc]


@pytest.mark.parametrize("network", BACKBONES)
def test_every_backbone_has_the_kind_first_or_last_alone(network: type[Backbone]) -> None:
    for adaptive_in, name in (("first", PLACES[network][0]), ("last", PLACES[network][-1])):
        made = on_meta(lambda word=adaptive_in: build(network, word))  # type: ignore[misc]
        assert names_of(made) == [name]


@settings(max_examples=30)
@given(network=st.sampled_from(SHORT), data=st.data())
def test_the_named_places_have_the_kind_and_all_else_is_the_standard_network(
    network: type[Backbone], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(PLACES[network]), min_size=1, unique=True))
    made, standard = build(network, chosen), build(network, "all", nn.Conv2d)
    assert names_of(made) == [name for name in PLACES[network] if name in chosen]
    within = tuple(f"{name}." for name in chosen)
    mine, theirs = (
        {key: value for key, value in of.state_dict().items() if not key.startswith(within)} for of in (made, standard)
    )
    assert same_state(mine, theirs)
    assert made(torch.randn(2, 3, 32, 32)).isfinite().all()
    assert forward_flops(made, (3, 32, 32)) > forward_flops(standard, (3, 32, 32))


@pytest.mark.parametrize("network", SHORT)
def test_all_places_by_name_are_the_network_of_the_kind(network: type[Backbone]) -> None:
    every, named = (build(network, where) for where in ("all", PLACES[network]))
    assert {k: v.shape for k, v in every.state_dict().items()} == {k: v.shape for k, v in named.state_dict().items()}
    assert forward_flops(every, (3, 32, 32)) == forward_flops(named, (3, 32, 32))


def test_patterns_mean_all_that_fit() -> None:
    assert names_of(build(ResNet20, "layer2")) == [f"layer2.{i}.conv{j}" for i in range(3) for j in (1, 2)]
    assert names_of(build(ResNet20, ["conv1", "layer[13].*.conv2"])) == [
        "conv1",
        *(f"layer{stage}.{i}.conv2" for stage in (1, 3) for i in range(3)),
    ]


def test_what_a_backbone_keeps_standard_is_no_place() -> None:
    def kept(*data: Any) -> Backbone:
        return ResNet8(*data, standard_first=True)

    assert names_of(build(kept, "first")) == ["layer1.0.conv1"]
    with pytest.raises(UserError, match=r"^adaptive_in: ResNet8 has no 'conv1'; .*: layer1\.0\.conv1, "):
        build(kept, "conv1")
    with pytest.raises(UserError, match=r"has no 'layer2\.0\.downsample'"):
        build(ResNet8, ["layer2.0.downsample"])


class Shared(Backbone):
    """Uses one convolution three times, under two names, with another between."""

    def __init__(self, in_channels: int, num_classes: int, size: tuple[int, int], conv: Conv, width: Width) -> None:
        super().__init__()
        self.widths = (4,)
        self.twice = conv(in_channels, in_channels, 3, padding=1)
        self.between = conv(in_channels, in_channels, 3, padding=1)
        self.again = self.twice
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.again(self.between(self.twice(images))).mean((2, 3)))
        return out


@pytest.mark.parametrize(("where", "kept"), [("first", "between"), ("last", "twice"), ("again", "between")])
def test_a_convolution_of_two_names_stays_one(where: str, kept: str) -> None:
    made = build(Shared, where)
    assert made.again is made.twice
    assert type(made.get_submodule(kept)) is nn.Conv2d
    assert len(names_of(made)) == 1


def test_layers_that_share_find_each_other_where_they_stand() -> None:
    made = build(ResNet8, ["layer3"], conv_kind("kernel_warehouse"), width=1.0)
    layers = [module for module in made.modules() if isinstance(module, KernelWarehouseConv2d)]
    alone = sum(
        count_parameters(build(ResNet8, [f"layer3.0.conv{i}"], conv_kind("kernel_warehouse"), 1.0)) for i in (1, 2)
    )
    assert len(layers) == 2
    assert count_parameters(made) < alone


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", ["adaptive", "adaptive_low_rank", "separable", "kernel_warehouse", "involution"])
@pytest.mark.parametrize("where", ["first", "last", ["layer2", "conv1"]])
def test_a_budget_is_met_with_the_kind_in_some_places(kind: str, where: AdaptiveIn) -> None:
    model = ImageClassifier(ResNet8, kind, budget=12_000, adaptive_in=where, in_channels=3, image_size=(32, 32))
    built = build(ResNet8, where, conv_kind(kind), model.widths)
    assert CLOSE_ENOUGH * 12_000 <= model.parameter_count == count_parameters(built) <= 12_000
    assert model.flops == forward_flops(built, (3, 32, 32))


def test_a_kernel_of_one_pixel_is_a_place_where_the_backbone_makes_it_of_the_kind() -> None:
    def small(*data: Any) -> Backbone:
        return ConvNet(*data, kernel_size=1)

    assert names_of(build(small, "last")) == ["blocks.2.conv"]


def test_a_network_with_the_kind_in_some_places_can_be_converted_further() -> None:
    made = build(LeNet5, "first")
    assert [one.name for one in convert(made, "adaptive").swapped] == ["features.3"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "frist",
            r"adaptive_in: LeNet5 has no 'frist'; give all, first, last or names of these: features.0, features.3",
        ),
        (["features.3", "x", "y.*"], r"adaptive_in: LeNet5 has no 'x' or 'y.\*'; give all, .*: features.0, features.3"),
        ([], "adaptive_in: it is empty; give all, first, last or names of these: features.0, features.3"),
        (["all"], "adaptive_in: LeNet5 has no 'all'; .*"),
    ],
)
@pytest.mark.parametrize("kind", ["standard", "adaptive"])
def test_names_that_do_not_fit_are_answered_with_those_that_are_there(given: Any, message: str, kind: str) -> None:
    for budget in (None, 20_000):
        with pytest.raises(UserError, match=f"^{message}$"):
            ImageClassifier(kind=kind, adaptive_in=given, budget=budget)


def test_places_are_for_backbones_of_a_kind() -> None:
    class Headless(Backbone):
        def __init__(self, *data: Any) -> None:
            super().__init__()
            self.widths = (1,)

    with pytest.raises(UserError, match="^adaptive_in: Headless makes no convolution of a kind$"):
        build(Headless, "first")
    with pytest.raises(UserError, match="^kind, width, budget and adaptive_in are for the backbones .*convert.where$"):
        ImageClassifier(nn.Flatten(), adaptive_in="first")
    with pytest.raises(UserError, match=r"^give adaptive_in, .*, or convert\.where, .*$"):
        ImageClassifier(convert=ConvertOptions("adaptive"), adaptive_in="first")


@pytest.mark.parametrize(
    ("given", "names"),
    [("first", ["blocks.0.conv"]), ("[blocks.1, blocks.2.conv]", ["blocks.1.conv", "blocks.2.conv"])],
)
def test_the_command_takes_a_word_or_a_list(given: str, names: list[str], tmp_path: Path) -> None:
    run = ["--run.root", str(tmp_path), "--run.name", "here", "--run.wandb", "false", "--trainer.logger", "false"]
    model = ["--model.backbone", "ConvNet", "--model.kind", "adaptive_low_rank", "--model.adaptive_in", given]
    steps = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", *model, *run, *steps]) == 0
    (state,) = tmp_path.glob("here/*/**/last.ckpt")
    stored = torch.load(state, weights_only=True)["state_dict"]
    assert {re.sub(r"^network\.|\.gate_weight$", "", key) for key in stored if key.endswith("gate_weight")} == {*names}
    (config,) = tmp_path.glob("here/*/config.yaml")
    assert yaml.safe_load(config.read_text())["model"]["adaptive_in"] == yaml.safe_load(given)


def test_an_arm_says_where_its_layers_stand_and_another_arm_keeps_its_trials() -> None:
    arms = {
        "standard": Arm(),
        "everywhere": Arm("adaptive"),
        "first": Arm("adaptive", model={"adaptive_in": "first"}),
        "named": Arm("adaptive", model={"adaptive_in": ["blocks.0.conv"]}),
    }
    compared = plan(arms=arms, budgets=[2_000])
    sized = {at.arm: size for at, size in sizes(compared, networks(compared, Digits())).items()}
    assert sized["first"] == sized["named"]
    assert sized["everywhere"].widths < sized["first"].widths < sized["standard"].widths
    defined = {at.arm: maker(compared).definition(at) for at in compared.arm_budgets}
    assert "adaptive_in" not in defined["everywhere"]
    assert len(set(defined.values())) == 4
