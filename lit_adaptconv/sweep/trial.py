"""The trials of a plan: each an ordinary `adaptconv fit`, named by a hash of all that defines its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.plan import Arm, Plan
from lit_adaptconv.sweep.sizing import NetworkSize

WHERE = ("root", "download")
"""Arguments of a data module that say where the data are, not what they are."""

CLASSES = ("data", "backbone", "optimizer", "scheduler")

TUNING_SEED = 1_000_000
"""Seeds of tuning trials start here, so that the comparison has fresh ones."""

Pair = tuple[str, int | None]
"""An arm's name and a budget."""


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        id: Hash of what defines its numbers, then the fingerprint of the code; the name of its folder.
        arm: Name of the arm.
        kind: Conv kind.
        kind_options: The kind's further arguments.
        budget: Largest number of trainable parameters, or None.
        seed: Seed of the trial.
        pair: Number of the seed, from 0; trials of two arms with the same number are a pair.
        parameters: Trainable parameters.
        flops: FLOPs of a forward pass of one image.
        widths: Width of every layer.
        impossible: Why there is no such network; None if there is one.
        tuned: The hyperparameters that were tuned, or None.
        code: Version of the code.
        tuning: Number of the tuning trial; None for a trial of the comparison.
        backbone: Class of the network.
    """

    id: str
    arm: str
    kind: str
    kind_options: dict[str, Any]
    budget: int | None
    seed: int
    pair: int
    parameters: int
    flops: int
    widths: tuple[int, ...]
    impossible: str | None
    tuned: dict[str, Any] | None
    code: str
    tuning: int | None = None
    backbone: str = ""

    @property
    def title(self) -> str:
        """The trial as people name it."""
        budget = "" if self.budget is None else f" {self.budget:,}"
        return f"{self.arm}{budget} {'#' if self.tuning is None else 'tuning '}{self.pair}"


def pairs(plan: Plan) -> list[Pair]:
    """Every arm at every budget of its own, or of the plan."""
    return [
        (name, budget)
        for budget in (plan.budgets or (None,))
        for name, arm in plan.arms.items()
        if arm.budgets is None or budget in arm.budgets
    ]


@dataclass(frozen=True)
class TrialMaker:
    """Makes a plan's trials.

    Attributes:
        plan: The plan.
        sizes: Size of every arm's network at every budget.
        code: Version of the code, see `identity.code_version`.
        data: Fingerprint of the user's own data, see `identity.data_fingerprint`.
    """

    plan: Plan
    sizes: Mapping[Pair, NetworkSize]
    code: str
    data: str | None = None

    def definition(self, pair: Pair, tuned: Mapping[str, Any] | None = None) -> str:
        """All that defines the numbers of an arm's trials at a budget, but the seed, as text."""
        settings = shared_settings(self.plan, self.plan.arms[pair[0]], pair[1], tuned)
        arguments = settings["data"].get("init_args", {})
        settings["data"]["init_args"] = {k: v for k, v in arguments.items() if k not in WHERE}
        return json.dumps([settings, self.data], sort_keys=True, default=str)

    def comparison(self, pair: Pair, tuned: Mapping[str, Any] | None = None) -> list[Trial]:
        """The trials of one arm at one budget, a seed each.

        Args:
            pair: Arm and budget.
            tuned: What tuning found, if there was tuning.
        """
        definition = self.definition(pair, tuned)
        return [self._trial(pair, tuned, definition, self.plan.first_seed + i, i) for i in range(self.plan.seeds)]

    def tuning(self, pair: Pair, number: int, tuned: Mapping[str, Any]) -> Trial:
        """The tuning trial with this number, of one arm at one budget."""
        seed = TUNING_SEED + self.plan.first_seed + number
        return self._trial(pair, tuned, self.definition(pair, tuned), seed, number, number)

    def all(self) -> Iterator[Trial]:
        """Every trial of a plan without tuning, all arms of a budget and a seed side by side."""
        groups = [self.comparison(pair) for pair in pairs(self.plan)]
        for seed in zip(*groups, strict=True):
            yield from seed

    def _trial(
        self,
        pair: Pair,
        tuned: Mapping[str, Any] | None,
        definition: str,
        seed: int,
        number: int,
        tuning: int | None = None,
    ) -> Trial:
        arm, size = self.plan.arms[pair[0]], self.sizes[pair]
        digest = hashlib.sha256(f"{definition} {seed} {tuning is not None}".encode()).hexdigest()[:12]
        return Trial(
            id=f"{digest}-{self.code.rpartition('+')[2]}",
            arm=pair[0],
            kind=arm.kind,
            kind_options=arm.kind_options,
            budget=pair[1],
            seed=seed,
            pair=number,
            parameters=size.parameters,
            flops=size.flops,
            widths=size.widths,
            impossible=size.impossible,
            tuned=None if tuned is None else dict(tuned),
            code=self.code,
            tuning=tuning,
            backbone=self.plan.backbone_of(arm).get("class_path", "").rpartition(".")[2],
        )


def shared_settings(plan: Plan, arm: Arm, budget: int | None, tuned: Mapping[str, Any] | None) -> dict[str, Any]:
    """The sections `data`, `model` and `trainer` of a trial's config.

    Raises:
        UserError: A tuned name is not in the plan.
    """
    shared: dict[str, Any] = deepcopy(
        {
            **{name: getattr(plan, name) for name in CLASSES},
            "backbone": plan.backbone_of(arm),
            "trainer": plan.trainer,
            "label_smoothing": plan.label_smoothing,
        }
    )
    for name, value in (tuned or {}).items():
        _set(shared, name, value)
    backbone = shared["backbone"]
    backbone["init_args"] = {**(backbone.get("init_args") or {}), **arm.backbone_options}
    often = plan.evaluate_every <= 1
    return {
        "data": shared["data"],
        "model": {
            "backbone": backbone,
            "kind": arm.kind,
            "kind_options": dict(arm.kind_options),
            "budget": budget,
            "optimizer": shared["optimizer"],
            "scheduler": shared["scheduler"],
            "label_smoothing": shared["label_smoothing"],
        },
        "trainer": {
            **shared["trainer"],
            "val_check_interval": float(plan.evaluate_every) if often else 1.0,
            "check_val_every_n_epoch": 1 if often else int(plan.evaluate_every),
            "enable_progress_bar": False,
        },
    }


def fit_config(plan: Plan, trial: Trial, root: str, name: str, uid: str) -> dict[str, Any]:
    """The complete config with which `adaptconv fit` runs a trial.

    Args:
        plan: The plan.
        trial: The trial.
        root: Folder of the sweep.
        name: Folder in it; the trial's is `<root>/<name>/<id>`.
        uid: Name of the sweep that no other has.
    """
    return {
        "seed_everything": trial.seed,
        **shared_settings(plan, plan.arms[trial.arm], trial.budget, trial.tuned),
        "convergence": {"targets": list(plan.targets)},
        "run": {
            "root": root,
            "name": name,
            "id": trial.id,
            "wandb_id": f"{uid}-{trial.id}",
            "title": f"{plan.name} {trial.title}",
            "group": plan.name,
            "job_type": trial.arm,
            "tags": [*plan.tags, plan.name, *([] if trial.tuning is None else ["tuning"])],
            "project": plan.project,
            "wandb": plan.wandb,
            "test": trial.tuning is None,
        },
    }


def _set(shared: dict[str, Any], name: str, value: Any) -> None:
    first, *rest = name.split(".")
    if not rest:
        if not isinstance(shared.get(first), (int, float)):
            raise UserError(f"tuning.space: {name!r} is not a single value; name one of its arguments")
        shared[first] = value
        return
    section = shared[first]
    if first in CLASSES:
        if section is None:
            raise UserError(f"tuning.space searches {name!r}, but the plan has no {first}")
        section = section.setdefault("init_args", {})
    for part in rest[:-1]:
        section = section.setdefault(part, {})
    section[rest[-1]] = value
