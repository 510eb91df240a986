"""What meets a budget: compared with all that could."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torchvision
import yaml
from hypothesis import given
from hypothesis import strategies as st
from own_models import Chain, Numbers, Scaled, TwoConvolutions, Whole
from own_package import Segmenter
from sweep_cases import plan
from torch import nn

from lit_adaptconv.data import Digits
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models import ConvNet
from lit_adaptconv.models.budget import fit_budget
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.models.parameter_formula import on_meta
from lit_adaptconv.sweep.plan import Arm, Plan, Search, Tuning
from lit_adaptconv.sweep.reading import plan_text, read_plan
from lit_adaptconv.sweep.run import prepare
from lit_adaptconv.sweep.sizing import Network, networks, widest


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # as the command does


def parameters(sides: list[int]) -> int:
    """Of linear layers from each side to the next."""
    return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sides))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 6), st.integers(1, 12), st.integers(1, 3000))
def test_a_whole_width_is_the_widest_of_all_within_the_budget(
    multiples: list[int], fixed: int, usual: int, budget: int
) -> None:
    def count(width: float) -> dict[str, int]:
        assert isinstance(width, int)
        return {"parameters": count_parameters(on_meta(lambda: Chain(width, multiples, fixed)))}

    every = {width: parameters([fixed, *(width * m for m in multiples), fixed]) for width in range(1, budget + 2)}
    fitting = [width for width, size in every.items() if size <= budget]
    if fitting:
        assert widest(count, usual, Budget(budget)) == fitting[-1]
    else:
        with pytest.raises(UserError, match=f"has {every[1]:,} parameters, more than {budget:,}"):
            widest(count, usual, Budget(budget))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.floats(0.3, 3.0), st.integers(1, 3000))
def test_a_factor_has_as_many_parameters_as_any_within_the_budget(usual: list[int], begin: float, budget: int) -> None:
    def count(factor: float) -> dict[str, int]:
        return {"parameters": count_parameters(on_meta(lambda: Scaled(factor, usual)))}

    # The sides change where a product is half-way between two whole numbers: between these factors all is the same.
    steps = sorted({(k + 0.5) / side for side in usual for k in range(1000)})
    between = [steps[0] / 2, *((low + high) / 2 for low, high in itertools.pairwise(steps))]
    every = [parameters([3, *(max(1, round(side * factor)) for side in usual), 3]) for factor in between]
    fitting = [size for size in every if size <= budget]
    if fitting:
        assert count(widest(count, begin, Budget(budget))) == {"parameters": max(fitting)}
    else:
        with pytest.raises(UserError, match="more than"):
            widest(count, begin, Budget(budget))


def of(model: str | type, arms: dict[str, Arm] | None = None, width: str | None = None, **arguments: Any) -> Plan:
    """A plan for a module of one's own."""
    path = model if isinstance(model, str) else f"{model.__module__}.{model.__name__}"
    section = {"class_path": path, "init_args": arguments}
    return plan(model=section, width=width, arms={"plain": Arm()} if arms is None else arms, label_smoothing=0.0)


def network(made: Plan, arm: str = "plain") -> Network:
    return networks(made, Digits(image_size=16))[arm]


@pytest.mark.parametrize("width", ["hidden", "model.hidden", "model.init_args.hidden"])
def test_an_argument_of_a_module_meets_the_budget(width: str) -> None:
    size = network(of(Segmenter, width=width, hidden=3)).size(200)
    assert size.parameters == count_parameters(Segmenter(size.widths[0])) <= 200
    assert count_parameters(Segmenter(size.widths[0] + 1)) > 200
    (value,) = size.settings.values()
    assert (value,) == size.widths
    assert size.flops == forward_flops(Segmenter(value), (1, 8, 8))


def test_without_a_budget_a_module_has_the_size_that_the_arm_gives_it() -> None:
    arms = {"plain": Arm(), "wide": Arm(model={"hidden": 9})}
    sizes = {name: network(of(Segmenter, arms, width="hidden"), name).size(None) for name in arms}
    assert {name: size.parameters for name, size in sizes.items()} == {
        "plain": count_parameters(Segmenter()),
        "wide": count_parameters(Segmenter(9)),
    }


def test_a_factor_is_written_with_as_few_digits_as_serve() -> None:
    size = network(of(Scaled, width="factor", usual=[4, 8])).size(100)
    (factor,) = size.settings.values()
    assert size.parameters == count_parameters(Scaled(factor)) <= 100
    assert len(str(factor)) <= 4


def test_the_argument_may_be_one_of_a_part() -> None:
    part = {"class_path": "own_models.Part", "init_args": {"hidden": 3}}
    made = network(of(Whole, width="part.hidden", part=part))
    size = made.size(41)
    assert (size.parameters, size.settings) == (40, {"model.part.hidden": 10})
    built = made.build(size.settings)
    assert isinstance(built, Whole)
    assert built.part.layer.out_features == 10
    nested = Arm(model={"part.hidden": 5})
    assert network(of(Whole, {"plain": nested}, part=part)).size(None).parameters == 20


def test_the_width_is_that_of_the_converted_module() -> None:
    arms = {"plain": Arm(convert=ConvertOptions("adaptive_low_rank", where="net.0", kind_options={"rank": 2}))}
    size = network(of(Segmenter, arms, width="hidden")).size(400)

    def converted(hidden: int) -> int:
        return count_parameters(
            convert(Segmenter(hidden), "adaptive_low_rank", where="net.0", kind_options={"rank": 2}).model
        )

    assert size.parameters == converted(size.widths[0]) <= 400 < converted(size.widths[0] + 1)


def test_without_a_width_as_much_is_converted_as_the_budget_allows() -> None:
    options = ConvertOptions("adaptive_low_rank", kind_options={"rank": 3})
    made = network(of(TwoConvolutions, {"plain": Arm(convert=options)}))
    usual = count_parameters(TwoConvolutions())
    one = count_parameters(convert(TwoConvolutions(), options.kind, where="small", kind_options={"rank": 3}).model)
    both = count_parameters(convert(TwoConvolutions(), options.kind, kind_options={"rank": 3}).model)
    assert usual < one < both
    found = {budget: made.size(budget) for budget in (one - 1, one, both - 1, both)}
    assert [size.parameters for size in found.values()] == [0, one, one, both]
    assert "fits a budget" in (found[one - 1].impossible or "")
    assert found[one].settings == {"convert.budget": one}
    assert made.size(None).parameters == both


def test_without_either_a_module_is_what_it_is() -> None:
    made = network(of(TwoConvolutions))
    usual = count_parameters(TwoConvolutions())
    assert (made.size(usual).parameters, made.size(usual).settings) == (usual, {})
    assert f"has {usual:,} parameters" in (made.size(usual - 1).impossible or "")
    assert made.size(usual).flops == 0  # nothing tells the size of an image


def test_a_module_that_needs_numbers_or_builds_itself_late_is_sized_too() -> None:
    assert network(of(Numbers, width="depth")).size(40).parameters == count_parameters(Numbers(3)) == 36
    late = network(of("plain_module.Plain", made_in="configure_model")).size(None)
    early = network(of("plain_module.Plain", made_in="__init__")).size(None)
    assert late.parameters == early.parameters > 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("model", "width", "arguments", "message"),
    [
        ("own_package.Segmenter", "hiden", {}, "no argument 'hiden'; did you mean 'hidden'"),
        (
            "own_package.Segmenter",
            "lr",
            {},
            "lr does not make Segmenter larger: it has 45 parameters with 0.05, 45 with",
        ),
        ("own_models.Whole", "size", {"part": {"class_path": "own_models.Part"}}, "size of Whole is None"),
        ("own_models.Whole", "deep", {"part": {"class_path": "own_models.Part"}}, "deep of Whole is False"),
        ("own_models.Whole", "part.size", {"part": {"class_path": "own_models.Part"}}, "no argument 'part.size'"),
        ("own_models.Even", "width", {}, "building Even with model.width = 1: width must be even"),
        ("own_package.NoModule", None, {}, "NoModule is no LightningModule"),
        ("own_package.Blobs", None, {}, "Blobs is no LightningModule"),
        ("own_package.Nothing", None, {}, "Nothing"),
    ],
)
def test_what_can_not_be_sized_is_one_line(
    model: str, width: str | None, arguments: dict[str, Any], message: str
) -> None:
    content: dict[str, Any] = {"name": "own", "arms": {"plain": {}}, "budgets": [300], "monitor": "val/share"}
    content |= {"model": {"class_path": model, "init_args": arguments}, "data": {"class_path": "own_package.Blobs"}}
    try:
        sizes = prepare(read_plan(content if width is None else {**content, "width": width})).maker.sizes
        (line,) = (str(size.impossible) for size in sizes.values())
    except UserError as error:
        line = str(error)
    assert re.search(message, line), line
    assert "\n" not in line


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"model": {"hiden": 3}}, "model of the arm 'plain': Segmenter has no argument 'hiden'; did you mean 'hidden'"),
        ({"model": {"hidden": "many"}}, "arm 'plain': .*hidden"),
        ({"model": {"lr.scale": 2}}, "'lr.scale' can't be set: lr is 0.05"),
        ({"convert": {"kind": "adaptiv"}}, "unknown conv kind 'adaptiv'"),
        ({"convert": {"kind": "adaptive", "where": "nit"}}, "no convolution matches 'nit'"),
        ({"convert": {"kind": "adaptive", "budget": 3}}, "leave out its convert.budget"),
        ({"kind": "adaptive"}, "has kind, which is for an ImageClassifier"),
    ],
)
def test_a_mistake_in_an_arm_of_a_module_of_ones_own_is_one_line(arm: dict[str, Any], message: str) -> None:
    content = {"name": "own", "arms": {"plain": arm}, "budgets": [300], "model": "own_package.Segmenter"}
    with pytest.raises(UserError, match=message) as error:
        prepare(read_plan({**content, "data": "own_package.Blobs", "width": "hidden"}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", [{"backbone": "ResNet8"}, {"label_smoothing": 0.1}, {"scheduler": None}])
def test_what_is_the_classifiers_is_refused_beside_another_model(field: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(field))} is for an ImageClassifier"):
        read_plan({"name": "own", "arms": {"plain": {}}, "model": "own_package.Segmenter", **field})


def test_a_plan_for_a_module_of_ones_own_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    content = {"name": "own", "arms": {"a": {"convert": {"kind": "adaptive"}}, "b": {"model": {"hidden": 3}}}}
    read = read_plan({**content, "model": "own_package.Segmenter", "mode": "min", "targets": [0.1], "width": "hidden"})
    (tmp_path / "plan.yaml").write_text(plan_text(read))
    assert read_plan(tmp_path / "plan.yaml") == read


@pytest.mark.parametrize("kind", ["standard", "adaptive", "adaptive_low_rank", "separable"])
def test_a_backbone_has_the_widths_that_fit_the_budget(kind: str) -> None:
    conv = conv_kind(kind)
    made = networks(plan(arms={"one": Arm(kind)}), Digits(image_size=16))["one"]
    for budget in (300, 600):
        fitted = fit_budget(lambda conv, width: ConvNet(1, 10, (16, 16), conv, width, kernel_size=3), conv, budget)
        size = made.size(budget)
        assert (size.widths, size.parameters) == (fitted.widths, fitted.parameters)
        assert size.settings == {"model.width": list(fitted.widths)}
        whole = ConvNet(1, 10, (16, 16), conv, list(fitted.widths), kernel_size=3)
        assert size.flops == forward_flops(whole, (1, 16, 16))


def test_a_backbone_that_is_converted_has_the_widths_that_fit_then() -> None:
    arms = {"one": Arm(convert=ConvertOptions("adaptive", where="*.0"))}
    made = networks(plan(arms=arms), Digits(image_size=16))["one"]
    size = made.size(900)
    built = made.build(size.settings)
    assert count_parameters(built) == size.parameters <= 900
    assert "AdaptiveConv2d" in str(built)
    assert size.parameters > 0.9 * 900


def test_a_network_of_others_meets_a_budget_by_what_is_converted() -> None:
    class Colours(pl.LightningDataModule):
        in_channels, num_classes, image_size = 3, 10, (32, 32)

    options = ConvertOptions("adaptive_low_rank", where="layer1", kind_options={"rank": 1})
    backbone = {"class_path": "torchvision.models.resnet18", "init_args": {"num_classes": 10}}
    made = networks(plan(arms={"one": Arm(convert=options)}, backbone=backbone), Colours())["one"]
    usual = count_parameters(torchvision.models.resnet18(num_classes=10))
    size = made.size(usual + 40_000)
    assert usual < size.parameters <= usual + 40_000
    assert size.settings == {"model.convert.budget": usual + 40_000}
    assert made.size(usual).impossible is not None


def test_a_classifier_that_someone_has_changed_is_sized_like_ours() -> None:
    ours = networks(plan(arms={"one": Arm("adaptive")}), Digits(image_size=16))["one"].size(600)
    backbone = {"class_path": "lit_adaptconv.models.ConvNet", "init_args": {"kernel_size": 3}}
    arms = {"one": Arm(model={"kind": "adaptive"})}
    theirs = network(of("own_models.OwnClassifier", arms, backbone=backbone), "one").size(600)
    assert (theirs.widths, theirs.parameters, theirs.flops) == (ours.widths, ours.parameters, ours.flops)


def test_data_that_do_not_tell_a_classifier_its_shape_are_refused() -> None:
    content = {"name": "own", "arms": {"plain": {}}, "data": {"class_path": "own_package.Blobs"}}
    with pytest.raises(UserError, match="Blobs does not say in_channels"):
        prepare(read_plan(content))


def test_a_network_that_tuning_changes_meets_the_budget_all_the_same() -> None:
    tuning = Tuning(2, {"backbone.kernel_size": Search(choices=[3, 5]), "optimizer.lr": Search(0.01, 0.1)})
    maker = prepare(read_plan_of(plan(tuning=tuning))).maker
    (at, *_) = maker.plan.arm_budgets
    trials = {k: maker.tuning(at, 0, {"backbone.kernel_size": k, "optimizer.lr": 0.05}, 1)[0] for k in (3, 5)}
    assert trials[3].widths != trials[5].widths
    for size, trial in trials.items():
        section = maker.config(trial, "uid")["model"]
        assert section["backbone"]["init_args"]["kernel_size"] == size
        built = ConvNet(1, 10, (28, 28), nn.Conv2d, section["width"], kernel_size=size)
        assert 0.9 * 300 < count_parameters(built) == trial.parameters <= 300


def read_plan_of(made: Plan) -> Plan:
    return read_plan(yaml.safe_load(plan_text(made)))


def test_nothing_is_drawn_for_sizes() -> None:
    state = torch.get_rng_state()
    network(of(Segmenter, width="hidden")).size(300)
    assert torch.equal(torch.get_rng_state(), state)
