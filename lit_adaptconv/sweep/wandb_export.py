"""A plan as a Weights & Biases sweep, whose agents run `adaptconv fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.measure.budget import Budget, plain_limits
from lit_adaptconv.sweep.trial import TrialMaker, sized_settings
from lit_adaptconv.train.runs import is_plain


def export_wandb(maker: TrialMaker, file: Path) -> list[Path]:
    """Write a grid of all arms, budgets and seeds for `wandb sweep FILE`.

    Beside FILE a folder of its name holds the config that all runs share, and the model of each arm at each budget. The
    paths in FILE start at the current directory, where the agents are to be started too. Tuning is left out: it
    needs the order of trials that a grid does not have.

    Args:
        maker: Makes the plan's trials.
        file: The file to write, with the suffix `.yaml` or `.yml`.

    Returns:
        The files that were written.

    Raises:
        UserError: Another suffix, a name that is not one of a file, or an arm that a grid can't have.
    """
    plan = maker.plan
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"a Weights & Biases sweep is written as .yaml, not as {file.name!r}")
    for name in (plan.name, *plan.arms):
        if not is_plain(name):
            raise UserError(f"the name {name!r} can't be exported: it is to be that of a file or folder")
    folder = file.with_suffix("")
    models: dict[Path, Any] = {}
    for at in plan.arm_budgets:
        trial = maker.comparison(at)[0]
        if trial.impossible is not None:
            raise UserError(f"the arm {at.arm!r} can't be exported: {trial.impossible}")
        if plan.model is not None and plan.arms[at.arm].convert is not None:
            raise UserError(f"the arm {at.arm!r} can't be exported: a grid can't convert convolutions")
        settings = sized_settings(plan, trial)
        if plan.width is None and "width" in settings["model"]:  # the budget, by which people group runs, gives it
            settings["model"].pop("width")
            settings["model"]["budget"] = plain_limits(at.budget)
        models[folder / f"{at.arm}{'' if at.budget is None else f'-{Budget.of(at.budget).key}'}.yaml"] = settings[
            "model"
        ]
    texts = models | {
        folder / "fit.yaml": {
            "data": settings["data"],
            "trainer": settings["trainer"],
            "convergence": {"targets": list(plan.targets), "monitor": plan.monitor, "mode": plan.mode},
            "run": {"name": plan.name, "project": plan.project, "tags": list(plan.tags)},
        },
        file: {
            "name": plan.name,
            "project": plan.project,
            "program": "adaptconv",
            "command": ["${env}", "${program}", "fit", "--config", (folder / "fit.yaml").as_posix(), "${args}"],
            "method": "grid",
            "metric": {"name": plan.monitor, "goal": "maximize" if plan.mode == "max" else "minimize"},
            "parameters": {
                "model": {"values": [path.as_posix() for path in models]},
                "seed_everything": {"values": list(range(plan.first_seed, plan.first_seed + plan.seeds))},
            },
        },
    }
    for path, content in texts.items():
        write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return list(texts)
