from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.sweep import parse
from sweep_cases import plan
from torch import nn

from lit_adaptconv import LowRankAdaptiveConv2d
from lit_adaptconv.errors import UsageError, UserError
from lit_adaptconv.sweep.plan import Arm, Plan, Search, Tuning
from lit_adaptconv.sweep.reading import build_data, plan_text, read_plan
from lit_adaptconv.sweep.run import default_folder
from lit_adaptconv.sweep.settings import arm_settings
from lit_adaptconv.sweep.sizing import networks
from lit_adaptconv.verdict.prospect import prospect

MINIMAL = {"name": "mine", "arms": {"standard": {"kind": "standard"}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_a_minimal_plan_is_completed_with_defaults(file: Path) -> None:
    read, options = parse(["--config", str(file)])
    assert (read.name, read.seeds, read.budgets, read.reference) == ("mine", 10, [], "standard")
    assert read.data["class_path"] == "lit_adaptconv.data.Digits"
    assert read.data["init_args"]["batch_size"] == 128
    assert options.engine == "local"
    assert not options.dry_run


def test_any_field_can_be_overridden_on_the_command_line(file: Path) -> None:
    overrides = {
        "--seeds": "7",
        "--budgets": "[100, 200]",
        "--data.batch_size": "16",
        "--backbone": "ConvNet",
        "--backbone.channels": "[3, 4]",
        "--backbone.pool_after": "[0]",
        "--optimizer": "SGD",
        "--optimizer.lr": "0.5",
        "--scheduler": "null",
        "--trainer.max_epochs": "3",
        "--arms.standard.kind": "adaptive",
        "--label_smoothing": "0.1",
        "--workers": "3",
        "--ray-address": "auto",
    }
    read, options = parse(["--config", str(file), *(word for pair in overrides.items() for word in pair)])
    assert (read.seeds, read.budgets, read.label_smoothing, read.scheduler) == (7, [100, 200], 0.1, None)
    assert read.data["init_args"]["batch_size"] == 16
    assert read.backbone["init_args"]["channels"] == [3, 4]
    assert read.optimizer["class_path"] == "torch.optim.SGD"
    assert read.optimizer["init_args"]["lr"] == 0.5
    assert (read.trainer["max_epochs"], read.trainer["log_every_n_steps"]) == (3, 10)
    assert read.arms["standard"].kind == "adaptive"
    assert (options.workers, options.ray_address) == (3, "auto")


def test_a_plan_and_its_command_line_take_transforms(file: Path) -> None:
    v2 = "torchvision.transforms.v2"
    file.write_text(yaml.safe_dump({**MINIMAL, "data": {"class_path": "Digits", "init_args": {"transforms": []}}}))
    given = [f"--data.transforms+={v2}.RandAugment", "--data.transforms.magnitude=4", f"--data.transforms+={v2}.MixUp"]
    read, _ = parse(["--config", str(file), *given])
    first, _ = read.data["init_args"]["transforms"]
    assert (first["class_path"], first["init_args"]["magnitude"]) == (f"{v2}.RandAugment", 4)
    again = build_data(read)
    assert [type(each).__name__ for each in again.transforms] == ["RandAugment", "MixUp"]  # type: ignore[attr-defined]
    file.write_text(plan_text(read))
    assert parse(["--config", str(file)])[0].data == read.data


def test_the_plan_that_is_written_is_the_plan_that_was_read(tmp_path: Path) -> None:
    tuning = Tuning(4, {"optimizer.lr": Search(0.001, 0.1, log=True), "data.batch_size": Search(choices=[32, 64])})
    (tmp_path / "plan.yaml").write_text(plan_text(plan(tuning=tuning)))
    once, _ = parse(["--config", str(tmp_path / "plan.yaml")])
    (tmp_path / "again.yaml").write_text(plan_text(once))
    again, _ = parse(["--config", str(tmp_path / "again.yaml")])
    assert again == once
    assert once.tuning == tuning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {}}, "arms is empty"),
        ({"primary_arm": "other"}, "not among the arms: standard, low_rank"),
        ({"budgets": [5, 5]}, "budgets must be different, got 5, 5"),
        ({"budgets": [0]}, "budgets: the budget of parameters must be a whole number from 1 on, got 0"),
        ({"targets": []}, "one or more"),
        ({"targets": [90.0]}, "shares between 0 and 1"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"evaluate_every": 1.5}, "whole number of epochs"),
        ({"evaluate_every": 0}, "whole number of epochs"),
        ({"name": ""}, "needs a name"),
        ({"cpus": 0}, "cpus must be at least 1"),
        ({"tuning": Tuning(0, {"optimizer.lr": Search(0, 1)})}, "at least 1"),
        ({"tuning": Tuning(1, {})}, "is empty"),
        ({"tuning": Tuning(None, {"optimizer.lr": Search(0, 1)})}, "tuning.trials is needed"),
        ({"tuning": Tuning(1, {"optimizer.lr": Search(0, 1)}, seeds=0)}, "at least 1"),
        ({"tuning": Tuning(1, {"optimizer.lr": Search(0.0, float("inf"))})}, "low < high"),
        ({"tuning": Tuning(1, {"optimizer.lr": Search(choices=[0.1, 0.2, 0.1])})}, "a choice twice"),
        (
            {"tuning": Tuning(1, {n: Search(choices=[0.1]) for n in ("optimizer.lr", "optimizer.init_args.lr")})},
            "'optimizer.lr' is searched twice",
        ),
        ({"tuning": Tuning(1, {"arms.x": Search(0, 1)})}, "can't search 'arms.x'"),
        ({"tuning": Tuning(1, {"optimizer.lr": Search(1, 1)})}, "low < high"),
        ({"tuning": Tuning(1, {"optimizer.lr": Search(0, 1, log=True)})}, "above 0"),
        ({"tuning": Tuning(1, {"optimizer.lr": Search(0, 1, choices=[1])})}, "either"),
        ({"tuning": Tuning(1, {"optimizer.betas": Search(choices=[[0.9, 0.99]])})}, "choices are"),
        ({"tuning": Tuning(1, {"optimizer": Search(0, 1)})}, "not a single value"),
        ({"tuning": Tuning(1, {"scheduler.pct_start": Search(0.1, 0.5)})}, "the plan has no scheduler"),
        ({"tuning": Tuning(1, {"model.hidden": Search(1, 5)})}, "can't search 'model.hidden'"),
        ({"mode": "min", "monitor": "val/loss", "targets": [0.9, 0.95, 0.98, 0.99]}, "targets are needed"),
        ({"targets": [float("nan")], "monitor": "val/loss"}, "different values of val/loss"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        plan(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seedz", "3"], r"did you mean --seeds\?"),
        (["--data.bach_size", "3"], "did you mean 'batch_size'"),
        (["--optimizer.lrr", "3"], "did you mean 'lr'"),
        (["--data", "Digitz"], "known: .*Digits"),
        (["--trainer.max_epoch", "3"], r"did you mean --trainer\.max_epochs\?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_known_one(file: Path, args: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        parse(["--config", str(file), *args])
    assert "\n" not in str(error.value)


def test_every_arm_builds_the_backbone_with_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # as the command does
    made = plan()
    arms = networks(made, build_data(made))
    standard, low_rank = (str(arms[arm].build({}).network) for arm in ("standard", "low_rank"))
    assert "ReLU" in standard
    assert "LowRankAdaptiveConv2d" not in standard
    assert "ReLU" not in low_rank
    assert "LowRankAdaptiveConv2d" in low_rank


SHIPPED = sorted(Path("configs/sweeps").glob("*.yaml"))


def test_the_sweep_configs_ship() -> None:
    assert {file.stem for file in SHIPPED} >= {"digits", "mnist_lenet", "mnist_small", "cifar10_resnet", "own_images"}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_sweep_config_that_ships_can_claim_and_compares_each_arm(file: Path) -> None:
    shipped = read_plan(file)
    assert len(shipped.arms) > 1
    budgets: dict[str, list[int | None]] = {arm: [] for arm in shipped.arms}
    for at in shipped.arm_budgets:
        budgets[at.arm].append(at.budget)
    steps = shipped.question.measure == "steps"
    found = prospect(budgets, shipped.reference, shipped.seeds, steps)
    assert found.alone == ()
    if file.stem.endswith("_pilot"):
        assert not found.can_claim  # one seed each, to choose what a sweep then compares
    else:
        assert all(c.can_claim for c in found.comparisons)


def test_an_arm_may_have_a_network_of_another_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # as the command does
    arms = {
        "deep": {"kind": "standard"},
        "shallow": {"kind": "adaptive_low_rank", "backbone": "ResNet8", "backbone_options": {"activation": "identity"}},
    }
    written = {"name": "depth", "arms": arms, "budgets": [3000], "backbone": {"class_path": "ResNet20"}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(written))
    read, _ = parse(["--config", str(tmp_path / "plan.yaml")])
    made = networks(read, build_data(read))
    for arm, depth in (("deep", 20), ("shallow", 8)):
        network = made[arm].build({"model.width": 0.25}, meta=True)
        layer = LowRankAdaptiveConv2d if arm == "shallow" else nn.Conv2d
        found = [m for m in network.modules() if isinstance(m, layer) and tuple(m.kernel_size) == (3, 3)]
        assert len(found) == depth - 1  # and the linear layer
    settings = arm_settings(read, read.arms["shallow"])["model"]["backbone"]
    assert settings["class_path"].endswith(".ResNet8")
    assert settings["init_args"] == {"activation": "identity"}
    assert read.backbones == ("ResNet20", "ResNet8")
    (tmp_path / "complete.yaml").write_text(plan_text(read))
    assert parse(["--config", str(tmp_path / "complete.yaml")])[0] == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "nesterov": True, "momentum": 0.9}}),
        ("optimizer", {"class_path": "lit_adaptconv.train.MuonAdamW"}),
        ("optimizer", {"class_path": "AdamW", "init_args": {"lr": 0.01}}),
        ("scheduler", {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 3}}),
        ("scheduler", {"class_path": "lit_adaptconv.train.WarmupCosine", "init_args": {"warmup": 0.2}}),
    ],
)
def test_an_arm_may_have_any_class_of_its_own_in_its_model(tmp_path: Path, name: str, value: dict[str, Any]) -> None:
    content = {"name": "a", "arms": {"one": {}, "other": {"model": {name: value}}}}
    read = read_plan(content)
    (tmp_path / "plan.yaml").write_text(plan_text(read))
    assert read_plan(tmp_path / "plan.yaml") == read
    for arm in networks(read, build_data(read)).values():
        module = arm.build({})
        module.optimizer([nn.Parameter(torch.zeros(2))])  # type: ignore[operator]
    given = arm_settings(read, read.arms["other"])["model"][name]
    assert value["class_path"].rpartition(".")[2] == given["class_path"].rpartition(".")[2]
    assert value.get("init_args", {}).items() <= given.get("init_args", {}).items()


def test_an_unknown_network_of_an_arm_is_an_error_that_names_the_known(tmp_path: Path) -> None:
    written = {"name": "depth", "arms": {"shallow": {"backbone": "ResNet9"}}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(UserError, match="unknown class 'ResNet9' for the backbone of an arm; known: .*ResNet8"):
        parse(["--config", str(tmp_path / "plan.yaml")])


def test_an_arm_may_be_trained_at_some_of_the_budgets() -> None:
    arms = {"standard": Arm(), "reference": Arm(budgets=[900])}
    found = plan(arms=arms, budgets=[500, 900]).arm_budgets
    assert found == [("standard", 500), ("standard", 900), ("reference", 900)]
    with pytest.raises(UserError, match=r"'reference' has budgets \[900\], .* of the plan's, \[500, 700\]"):
        plan(arms=arms, budgets=[500, 700])
    with pytest.raises(UserError, match=r"'reference' has budgets \[\], which must be one or more"):
        plan(arms={"reference": Arm(budgets=[])}, budgets=[500, 700])


def test_a_mapping_is_a_plan_like_the_file_with_its_content(file: Path) -> None:
    assert read_plan(MINIMAL) == read_plan(file)
    assert read_plan(MINIMAL) == parse(["--config", str(file)])[0]


def test_a_plan_that_is_made_by_hand_is_completed(file: Path) -> None:
    assert read_plan(Plan("mine", {"standard": Arm()}, scheduler=read_plan(file).scheduler)) == read_plan(file)
    assert read_plan(read_plan(file)) == read_plan(file)


@pytest.mark.parametrize("name", ["..", "a/b", "C:", ""])
def test_any_text_names_a_sweep_unless_it_has_to_name_its_folder(name: str) -> None:
    with pytest.raises(UserError, match="name"):
        default_folder(plan(name=name))
