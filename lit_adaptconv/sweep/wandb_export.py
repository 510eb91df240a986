"""A plan as a Weights & Biases sweep, whose agents run `adaptconv fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.trial import shared_settings


def export_wandb(plan: Plan, file: Path) -> list[Path]:
    """Write a grid of all arms, budgets and seeds for `wandb sweep FILE`.

    Beside FILE a folder of its name holds the config that all runs share, and the model section of each arm. The paths
    in FILE start at the current directory, where the agents are to be started too. Tuning is left out: it needs the
    order of trials that a grid does not have.

    Args:
        plan: The plan.
        file: The file to write, with the suffix `.yaml` or `.yml`.

    Returns:
        The files that were written.

    Raises:
        UserError: Another suffix, or an arm with budgets of its own, which a grid does not have.
    """
    if any(arm.budgets is not None for arm in plan.arms.values()):
        raise UserError("an arm has budgets of its own, which a Weights & Biases grid can't have: export it without")
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"a Weights & Biases sweep is written as .yaml, not as {file.name!r}")
    folder = file.with_suffix("")
    texts: dict[Path, Any] = {}
    for name, arm in plan.arms.items():
        settings = shared_settings(plan, arm, None, None)
        shared = {key: settings["model"].pop(key) for key in ("optimizer", "scheduler", "label_smoothing")}
        del settings["model"]["budget"]
        texts[folder / f"{name}.yaml"] = settings["model"]
    texts[folder / "fit.yaml"] = {
        "data": settings["data"],
        "model": shared,
        "trainer": settings["trainer"],
        "convergence": {"targets": list(plan.targets)},
        "run": {"name": plan.name, "project": plan.project, "tags": list(plan.tags)},
    }
    parameters: dict[str, Any] = {
        "model": {"values": [(folder / f"{name}.yaml").as_posix() for name in plan.arms]},
        "seed_everything": {"values": list(range(plan.first_seed, plan.first_seed + plan.seeds))},
    }
    if plan.budgets:
        parameters["model.budget"] = {"values": list(plan.budgets)}
    texts[file] = {
        "name": plan.name,
        "project": plan.project,
        "program": "adaptconv",
        "command": ["${env}", "${program}", "fit", "--config", (folder / "fit.yaml").as_posix(), "${args}"],
        "method": "grid",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": parameters,
    }
    for path, content in texts.items():
        write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return list(texts)
