"""Plans whose budgets limit FLOPs and bytes, against networks that are built from the trials' configs."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.main import main
from own_models import TwoConvolutions
from own_package import Segmenter
from sweep_cases import maker, plan

from lit_adaptconv.data import Digits
from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Budget, Limits, limits_of, plain_limits
from lit_adaptconv.measure.count import count_flops, count_parameters, forward_flops
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.sweep.plan import Arm, ArmBudget, Plan
from lit_adaptconv.sweep.reading import parse_plan, plan_parser, plan_text, read_plan
from lit_adaptconv.sweep.run import prepare
from lit_adaptconv.sweep.sizing import Network, NetworkSize, networks
from lit_adaptconv.sweep.wandb_export import export_wandb
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.result import RunResult

CONTENT: dict[str, Any] = {
    "name": "limits",
    "arms": {
        "standard": {"kind": "standard"},
        "separable": {"kind": "separable"},
        "converted": {"convert": {"kind": "adaptive_low_rank", "where": "blocks.0.*"}},
    },
    "budgets": [3000, {"parameters": 3000, "flops": 4e5}, {"bytes": 8000}, {"bytes": 8000, "dtype": "float16"}],
    "backbone": {"class_path": "ConvNet"},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}
SHAPE = (1, 16, 16)


def held(module: torch.nn.Module, itemsize: int = 4) -> int:
    """Bytes of a state dict whose numbers have so many."""
    values = module.state_dict().values()
    return sum(v.numel() * (itemsize if v.is_floating_point() else v.element_size()) for v in values)


def sizes(module: torch.nn.Module, budget: Budget, shape: tuple[int, ...]) -> dict[str, int]:
    itemsize = torch.empty(0, dtype=budget.torch_dtype).element_size()
    found = {"parameters": count_parameters(module), "flops": count_flops(module, shape).forward}
    return {name: value for name, value in {**found, "bytes": held(module, itemsize)}.items() if name in budget.limits}


def test_every_network_of_a_plan_is_the_widest_within_all_limits() -> None:
    made = prepare(read_plan({**CONTENT, "data": {"class_path": "Digits", "init_args": {"image_size": 16}}})).maker
    assert len(made.sizes) == 12
    for at, size in made.sizes.items():
        assert at.budget is not None
        assert size.impossible is None
        budget = Budget.of(at.budget)
        conversion = ConvertOptions("adaptive_low_rank", where="blocks.0.*")
        options: dict[str, Any] = {"kind": "separable"} if at.arm == "separable" else {}
        if at.arm == "converted":
            options = {"convert": conversion}

        def module(widths: tuple[int, ...], options: dict[str, Any] = options) -> torch.nn.Module:
            from lit_adaptconv.models import ConvNet

            data = {"in_channels": 1, "num_classes": 10, "image_size": (16, 16)}
            return ImageClassifier(ConvNet, width=list(widths), **data, **options).network  # type: ignore[arg-type]

        found = sizes(module(size.widths), budget, SHAPE)
        assert found == {name: value for name, value in size.sizes.items() if name in budget.limits}
        shares = [value / budget.limits[name] for name, value in found.items()]
        assert max(shares) <= 1
        if max(shares) < 0.95:
            for layer in range(len(size.widths)):
                wider = tuple(w + (i == layer) for i, w in enumerate(size.widths))
                more = sizes(module(wider), budget, SHAPE)
                assert any(value > budget.limits[name] for name, value in more.items())


def own(arms: dict[str, Arm], model: type, width: str | None = None, **changes: Any) -> Network:
    section = {"class_path": f"{model.__module__}.{model.__name__}", "init_args": {}}
    of = plan(model=section, width=width, arms=arms, label_smoothing=0.0, **changes)
    return networks(of, Digits(image_size=16))["plain"]


@pytest.mark.parametrize(
    "limits",
    [{"flops": 40_000}, {"bytes": 900}, {"parameters": 200, "flops": 20_000}, {"parameters": 100, "bytes": 10**6}],
)
def test_the_width_of_a_module_of_ones_own_meets_all_limits(limits: dict[str, int]) -> None:
    budget = Budget.of(limits)
    size = own({"plain": Arm()}, Segmenter, "hidden").size(budget)
    found, wider = (sizes(Segmenter(width), budget, (1, 8, 8)) for width in (size.widths[0], size.widths[0] + 1))
    assert found == {name: value for name, value in size.sizes.items() if name in limits}
    assert all(value <= limits[name] for name, value in found.items())
    assert any(value > limits[name] for name, value in wider.items())


def test_as_much_of_a_module_is_converted_as_its_bytes_allow() -> None:
    options = ConvertOptions("adaptive_low_rank", kind_options={"rank": 3})
    made = own({"plain": Arm(convert=options)}, TwoConvolutions)
    one = held(convert(TwoConvolutions(), options.kind, where="small", kind_options={"rank": 3}).model)
    both = held(convert(TwoConvolutions(), options.kind, kind_options={"rank": 3}).model)
    found = {limit: made.size(Budget(bytes=limit)) for limit in (one - 1, one, both - 1, both)}
    assert [size.file_bytes for size in found.values()] == [None, one, one, both]
    assert "fits a budget" in (found[one - 1].impossible or "")
    assert found[both].settings == {"convert.budget": {"bytes": both, "dtype": "float32"}}


@pytest.mark.parametrize(
    ("arm", "model", "width", "budget", "message"),
    [
        (Arm(), Segmenter, "hidden", {"flops": 9}, "no Segmenter fits: the narrowest, 1, has 1,344 FLOPs, more than 9"),
        (Arm(), Segmenter, "hidden", {"parameters": 99, "bytes": 9}, "the narrowest, 1, has 48 bytes, more than 9"),
        (Arm(), Segmenter, None, {"bytes": 9}, "Segmenter has 180 bytes, more than 9: name its argument"),
        (Arm(), TwoConvolutions, None, {"flops": 9}, "FLOPs of TwoConvolutions are not known, so no budget can limit"),
        (Arm(), Segmenter, "lr", {"flops": 9}, "lr does not make Segmenter larger: it has .* FLOPs with 0.05, "),
    ],
)
def test_a_module_that_meets_no_limit_is_one_line(
    arm: Arm, model: type, width: str | None, budget: dict[str, int], message: str
) -> None:
    try:
        line = own({"plain": arm}, model, width).size(Budget.of(budget)).impossible
    except UserError as error:
        line = str(error)
    assert line is not None
    assert "\n" not in line
    with pytest.raises(UserError, match=message):
        raise UserError(line)


def test_a_plan_is_the_same_when_it_is_read_again() -> None:
    arms = {**CONTENT["arms"], "few": {"kind": "adaptive", "budgets": [{"bytes": 8e3}, 3000]}}
    made = read_plan({**CONTENT, "arms": arms})
    assert made.budgets == [*map(limits_of, CONTENT["budgets"])]
    assert made.arms["few"].budgets == [Budget(bytes=8000), 3000]
    content = yaml.safe_load(plan_text(made))
    assert content["budgets"] == [*map(plain_limits, made.budgets)]
    assert read_plan(content) == made
    assert read_plan(made) == made
    assert read_plan({**CONTENT, "arms": arms, "budgets": made.budgets}) == made


@pytest.mark.parametrize("form", ["--budgets={}", "--budgets {}", "--arms.a.budgets={}"])
def test_budgets_of_a_command_line_take_nothing_from_those_of_a_file(form: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    limits = [{"parameters": 3000, "flops": 4e5}, {"flops": 3e5, "bytes": 8000}]
    file.write_text(yaml.safe_dump({"name": "x", "arms": {"a": {"budgets": limits[:1]}}, "budgets": limits}))
    given: list[Any] = [{"flops": 3e5, "bytes": 8000}, *([] if "arms" in form else [700])]
    args = form.format(json.dumps(given)).split(" ", 1) if "=" not in form else [form.format(json.dumps(given))]
    if "arms" not in form:
        args += ["--arms.a.budgets=null"]
    made, _ = parse_plan(plan_parser(), ["--config", str(file), *args])
    asked = made.arms["a"].budgets if "arms" in form else made.budgets
    assert asked is not None
    assert (asked[0], len(asked)) == (Budget(flops=300_000, bytes=8_000), len(given))


def test_only_the_limits_of_a_budget_make_a_trial_another_one() -> None:
    def ids(budgets: list[Any]) -> list[str]:
        return [trial.id for trial in maker(plan(budgets=budgets)).all()]

    assert ids([{"parameters": 300}, {"parameters": 600.0, "dtype": "float16"}]) == ids([300, 600])
    different = [300, {"parameters": 300, "flops": 1e6}, {"flops": 1e6}, {"bytes": 1e6}]
    different += [{"bytes": 1e6, "dtype": "float16"}, {"flops": 1e6, "bytes": 1e6}]
    assert len({*ids(different)}) == len(ids(different))
    made = maker(plan())
    settings, _ = json.loads(made.definition(ArmBudget("standard", 300)))
    assert settings["model"]["budget"] == 300


def test_a_trial_records_its_limits_and_what_it_has_of_each(tmp_path: Path) -> None:
    budget = Budget(flops=100_000, bytes=3_000, dtype="float16")
    content = {**CONTENT, "budgets": [plain_limits(budget)], "seeds": 1, "wandb": False}
    made = prepare(read_plan(content)).maker
    for trial in made.all():
        config = made.config(trial, "0123abcd")
        config["run"] |= {"root": str(tmp_path), "name": trial.arm, "id": "1"}
        file = tmp_path / f"{trial.arm}.yaml"
        file.write_text(yaml.safe_dump(config))
        short = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--run.test", "false"]
        assert main(["fit", "--config", str(file), *short]) == 0
        result = RunResult.read(tmp_path / trial.arm / "1" / "result.json")
        assert (result.limits, result.status) == (budget, "done")
        assert result.sizes == made.sizes[ArmBudget(trial.arm, budget)].sizes
        assert result.weight_bytes is not None
        assert result.file_bytes is not None
        assert result.weight_bytes > 1.8 * result.file_bytes


def test_a_grid_for_other_agents_has_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    budgets: list[Limits] = [300, Budget(parameters=300, flops=10**6), Budget(bytes=4_000)]
    files = export_wandb(maker(plan(budgets=budgets, arms={"a": Arm()})), Path("sweep.yaml"))
    assert [file.name for file in files][:-2] == [
        "a-300.yaml",
        "a-300-parameters-1000000-flops.yaml",
        "a-4000-bytes.yaml",
    ]
    assert [yaml.safe_load(file.read_text())["budget"] for file in files[:-2]] == [*map(plain_limits, budgets)]


def test_a_dry_run_shows_the_share_of_each_limit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("lit_adaptconv.sweep.estimate.step_seconds", lambda *_: 0.01)
    file = tmp_path / "plan.yaml"
    content = {**CONTENT, "budgets": [{"parameters": 3000, "flops": 4e5}, {"flops": 9}], "seeds": 1}
    file.write_text(yaml.safe_dump(content))
    assert main(["sweep", "--config", str(file), "--dry-run", "--output", str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"3,000 parameters and 400 kFLOPs .* % of parameters, .* % of FLOPs", out)) == 3
    assert "at most 9 FLOPs: the narrowest (widths 1-1-1) has" in out


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([{"flops": -1}], "budgets: the budget of FLOPs must be a whole number from 1 on, got -1"),
        ([{"flops": float("nan")}], "--budgets.flops takes a number or null, got NaN"),
        ([{"bytes": 0.5}], "budgets: the budget of bytes must be a whole number from 1 on, got 0.5"),
        ([{}], "takes a whole number or limits such as"),
        ([{"flop": 3}], "option 'flop' is not accepted; did you mean 'flops'"),
        ([{"flops": "2 MFLOPs"}], "--budgets.flops takes a number or null, got 2 MFLOPs"),
        ([{"dtype": "float16"}], "budgets: a budget has at least one limit: parameters, flops, bytes"),
        ([{"bytes": 9, "dtype": "int9"}], "--budgets.dtype takes one of float64, float32, float16, bfloat16"),
        ([5000, {"parameters": 5000}], "budgets must be different, got 5,000, 5,000"),
        ([{"bytes": 9}, {"bytes": 9, "dtype": "float32"}], "budgets must be different, got 9 bytes, 9 bytes"),
        (["5kB"], "takes a whole number or limits such as"),
        ([None], "takes a whole number or limits such as"),
        ({"flops": 1e6}, "takes a list"),
    ],
)
def test_what_is_no_budget_is_told_in_one_line(budgets: object, message: str) -> None:
    for content in ({"budgets": budgets}, {"budgets": [1], "arms": {"a": {"budgets": budgets}}}):
        with pytest.raises(UserError) as raised:
            read_plan({"name": "x", "arms": {"a": {}}, **content})
        assert "\n" not in str(raised.value)
        if "arms" not in content:
            assert message in str(raised.value)


def test_an_arm_has_the_plans_budgets_however_they_are_written() -> None:
    both = itertools.product([{"flops": 1e6}, Budget(flops=10**6)], repeat=2)
    for one, other in both:
        made: Plan = plan(budgets=[one, 300], arms={"a": Arm(budgets=[other]), "b": Arm()})  # type: ignore[list-item]
        assert [at.budget for at in made.arm_budgets if at.arm == "a"] == [Budget(flops=10**6)]
    with pytest.raises(UserError, match=r"has budgets \[\{'flops': 9\}\], which must be one or more of the plan's, "):
        plan(arms={"a": Arm(budgets=[Budget(flops=9)])})


def test_a_size_says_what_it_has_of_each_limit() -> None:
    assert NetworkSize(5, 7, file_bytes=9).sizes == {"parameters": 5, "flops": 7, "bytes": 9}
    assert forward_flops(Segmenter(3), (1, 8, 8)) == sizes(Segmenter(3), Budget(flops=1), (1, 8, 8))["flops"]
