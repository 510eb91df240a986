"""A class named on the command line or in a config starts from its own defaults, not from the default class's."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adaptconv_cli.main import main
from adaptconv_cli.sweep import parse as parse_sweep

from lit_adaptconv.data import MNIST
from lit_adaptconv.train.parser import OneLineParser

pytestmark = pytest.mark.usefixtures("folder")


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert main(["fit", *args, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def defaults(of: type) -> dict[str, Any]:
    parameters = inspect.signature(of).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def test_other_data_have_their_own_validation_split(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "--data", "MNIST", "--data.shift", "1")
    assert config["data"]["init_args"] == {**defaults(MNIST), "shift": 1}


def test_another_optimizer_has_its_own_weight_decay(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = printed(capsys, "--model.optimizer", "SGD", "--model.optimizer.momentum", "0.9")["model"]["optimizer"]
    expected = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.0}
    assert {name: arguments["init_args"][name] for name in expected} == expected
    made = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    assert made.defaults["weight_decay"] == 0.0  # PyTorch agrees


def test_the_default_class_keeps_what_the_project_set(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = printed(capsys, "--model.optimizer.weight_decay", "0.1")["model"]["optimizer"]["init_args"]
    assert (arguments["lr"], arguments["weight_decay"]) == (0.003, 0.1)


@pytest.mark.parametrize("given", ["option", "file"])
def test_a_plan_too(given: str, tmp_path: Path) -> None:
    plan: dict[str, Any] = {"name": "small", "arms": {"standard": {}}, "budgets": [500]}
    options = []
    if given == "file":
        plan |= {"data": {"class_path": "MNIST"}, "optimizer": {"class_path": "SGD", "init_args": {"lr": 0.5}}}
    else:
        options = ["--data", "MNIST", "--optimizer", "SGD", "--optimizer.lr", "0.5"]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    parsed, _ = parse_sweep(["--config", str(tmp_path / "plan.yaml"), *options])
    assert parsed.data["init_args"]["val_size"] == defaults(MNIST)["val_size"]
    assert (parsed.optimizer["init_args"]["lr"], parsed.optimizer["init_args"]["weight_decay"]) == (0.5, 0.0)


def test_a_class_may_have_arguments_without_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "--model.scheduler", "StepLR", "--model.scheduler.step_size", "7")
    assert config["model"]["scheduler"]["init_args"] == {"step_size": 7, "gamma": 0.1, "last_epoch": -1}


def test_a_command_on_one_network_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--data", "MNIST", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["val_size"] == defaults(MNIST)["val_size"]


def test_a_command_line_without_another_class_is_parsed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parsed = []
    parse = OneLineParser.parse_args
    monkeypatch.setattr(OneLineParser, "parse_args", lambda self, args: parsed.append(args) or parse(self, args))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"name": "small", "arms": {"standard": {}}}))
    parse_sweep(["--config", str(tmp_path / "plan.yaml")])
    assert len(parsed) == 1
    parse_sweep(["--config", str(tmp_path / "plan.yaml"), "--data", "MNIST"])
    assert len(parsed) == 3
