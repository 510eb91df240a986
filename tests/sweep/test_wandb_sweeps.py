"""Sweeps for Weights & Biases' own agents, without a server."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweep_cases import maker, plan
from wandb.apis.public.sweeps import _validate_config_and_fill_distribution
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.plan import Arm
from lit_adaptconv.sweep.wandb_export import export_wandb
from lit_adaptconv.train.configs import packaged_configs
from lit_adaptconv.train.result import RunResult

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs" / "wandb").glob("*.yaml"))


def agents_command(config: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The command line that wandb's agent forms, by its own functions."""
    macros = {"env": ["/usr/bin/env"], "program": [config["program"]]}
    macros |= create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    words: list[str] = []
    for word in create_sweep_command(config["command"]):
        words += macros[word[2:-1]] if word.startswith("${") else [word]
    return words


def a_value(parameter: dict[str, Any]) -> Any:
    return parameter["values"][0] if "values" in parameter else parameter["min"]


def run_as_agent(config: dict[str, Any], values: dict[str, Any], folder: Path, further: list[str]) -> RunResult:
    """Run the command as the agent does, in its environment, offline."""
    shim = folder / "bin"
    shim.mkdir()
    script = f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
    (shim / "adaptconv").write_text(f"{script}from adaptconv_cli.main import main\nsys.exit(main())\n")
    (shim / "adaptconv").chmod(0o755)
    agent = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "sw33p", "WANDB_RUN_ID": "run1d", "OMP_NUM_THREADS": "1"}
    agent |= {"PATH": f"{shim}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    agent["WANDB_SWEEP_PARAM_PATH"] = str(folder / "parameters.yaml")
    arguments = {name: {"value": value} for name, value in values.items()}
    save_config_file_from_dict(agent["WANDB_SWEEP_PARAM_PATH"], arguments)
    done = subprocess.run(
        [*agents_command(config, values), "--run.root", str(folder / "runs"), *further],
        env={**os.environ, **agent},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (result,) = (folder / "runs").glob("*/*/result.json")
    assert list(result.parent.glob("wandb/offline-run-*-run1d"))  # the agent's run, not one of our own
    return RunResult.read(result)


def check(config: dict[str, Any]) -> None:
    """Check a sweep's config with what wandb ships, and with its schema where that package is installed."""
    _validate_config_and_fill_distribution(config)
    before_args = config["command"].index("${args}")
    assert config["command"].index("--config") < before_args
    assert "config" not in config["parameters"]  # the key under which runs save their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sweeps import schema_violations_from_proposed_config  # pip install --no-deps sweeps jsonref
    except ImportError:
        return
    assert schema_violations_from_proposed_config(config) == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_sweep_that_ships_is_one_that_wandb_takes(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    check(config)
    command = config["command"]
    assert command[command.index("--config") + 1] in packaged_configs()


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_command_of_its_agent_trains(file: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(file.read_text())
    values = {name: a_value(parameter) for name, parameter in config["parameters"].items()}
    result = run_as_agent(config, values, tmp_path, ["--trainer.max_epochs", "1"])
    assert result.status == "done"
    assert result.kind == values.get("model.kind", "adaptive_low_rank")


def test_a_plan_becomes_a_grid_that_wandb_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = export_wandb(maker(plan()), Path("sweep.yaml"))
    assert all(file.is_file() for file in files)
    config = yaml.safe_load(Path("sweep.yaml").read_text())
    check(config)
    assert config["method"] == "grid"
    sizes = {name: len(parameter["values"]) for name, parameter in config["parameters"].items()}
    assert sizes == {"model": 4, "seed_everything": 3}
    arms = [yaml.safe_load(Path(file).read_text()) for file in config["parameters"]["model"]["values"]]
    assert [(arm["kind"], arm["budget"]) for arm in arms] == [
        (kind, budget) for budget in (300, 600) for kind in ("standard", "adaptive_low_rank")
    ]


def test_a_plan_without_budgets_becomes_a_grid_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = export_wandb(maker(plan(budgets=[])), Path("sweep.yaml"))
    assert [file.name for file in files] == ["standard.yaml", "low_rank.yaml", "fit.yaml", "sweep.yaml"]


def test_arms_at_some_of_the_budgets_stand_in_the_grid_at_these_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = export_wandb(maker(plan(arms={"a": Arm(), "b": Arm("adaptive", budgets=[600])})), Path("sweep.yaml"))
    assert [file.name for file in files][:-2] == ["a-300.yaml", "a-600.yaml", "b-600.yaml"]


@pytest.mark.parametrize("changes", [{"name": ".."}, {"arms": {"../../x": Arm()}}, {"arms": {"a/b": Arm()}}])
def test_a_name_that_is_none_of_a_file_is_refused_in_one_line(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be exported") as error:
        export_wandb(maker(plan(**changes)), tmp_path / "sweep.yaml")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"written as \.yaml"):
        export_wandb(maker(plan()), tmp_path / "sweep.json")


@pytest.mark.slow
def test_the_agents_command_for_a_plan_trains_the_plans_trial(tmp_path: Path) -> None:
    export_wandb(maker(plan()), tmp_path / "sweep.yaml")
    config = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    values = {name: parameter["values"][-1] for name, parameter in config["parameters"].items()}
    result = run_as_agent(config, values, tmp_path, [])
    assert (result.kind, result.budget, result.seed) == ("adaptive_low_rank", 600, 2)
    assert result.epochs == 2
    assert result.parameters <= 600
