"""The trials of a plan: each an ordinary `adaptconv fit`, named by a hash of all that defines its numbers."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import astuple, dataclass, field
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.built_in import resolve
from lit_adaptconv.measure.budget import Limits, plain_limits, with_budget
from lit_adaptconv.sweep.plan import ArmBudget, Plan, class_name
from lit_adaptconv.sweep.settings import arm_settings, set_argument
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.verdict.metric import ACCURACY

WHERE = ("root", "download")
"""Arguments of a data module that say where the data are, not what they are."""

BEFORE = {
    "lit_adaptconv.models.backbones.": "lit_adaptconv.backbones.",
    "lit_adaptconv.models.": "lit_adaptconv.backbones.",
    "lit_adaptconv.train.OneCycle": "lit_adaptconv.schedules.OneCycle",
    "lit_adaptconv.train.ConvertConvolutions": "lit_adaptconv.convert_callback.ConvertConvolutions",
}
"""Modules, and what they were called when trials that are finished got their ids."""
SINCE = {"MNIST": ("flip", False), "FashionMNIST": ("flip", False), "ImageFolder": ("bit_depth", None)}
SINCE_ALL = (("split_seed", None), ("transforms", None))
"""Arguments that classes of data got after that, with the value that changes nothing."""

CONVERSION = "lit_adaptconv.train.ConvertConvolutions"

SPLIT = ("split_seed", "seed")
"""Arguments of a data module that its validation split is drawn from, the first that it has."""

TUNING_SEED = 1_000_000
"""Seeds of tuning trials start here, so that the comparison has fresh ones."""


SERIES = "0.1.0"
"""Begins the name of all code, whatever its version: a trial is the same in two versions that compute it alike."""


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        id: Hash of what defines its numbers, then the fingerprint of the code; the name of its folder.
        arm: Name of the arm.
        kind: Conv kind; empty for a model of one's own that is not converted.
        kind_options: The kind's further arguments.
        budget: Largest number of trainable parameters, or other limits too; or None.
        seed: Seed of the trial.
        pair: Number of the seed, from 0; trials of two arms with the same number are a pair.
        parameters: Trainable parameters.
        flops: FLOPs of a forward pass of one sample; 0 where they are not known.
        widths: Width of every layer, or of the model.
        impossible: Why there is no such network; None if there is one.
        tuned: The hyperparameters that were tuned, or None.
        code: Version of the code.
        tuning: Number of the set of values that it tries, from 0; None for a trial of the comparison.
        backbone: Class of the network, where the model is an `ImageClassifier`.
        settings: What gives the network its size, by dotted names in its config.
        file_bytes: Bytes of its weights, where the budget limits them.
    """

    id: str
    arm: str
    kind: str
    kind_options: dict[str, Any]
    budget: Limits | None
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
    settings: dict[str, Any] = field(default_factory=dict)
    file_bytes: int | None = None

    @property
    def title(self) -> str:
        """The trial as people name it."""
        values = "" if self.tuning is None else f"tuning {self.tuning} "
        return f"{with_budget(self.arm, self.budget)} {values}#{self.pair}"


@dataclass(frozen=True)
class TrialMaker:
    """Makes a plan's trials, and their configs.

    Attributes:
        plan: The plan.
        sizes: Size of every arm's network at every budget.
        code: Version of the code that each arm's trials run, see `identity.code_version`.
        data: Fingerprint of the user's own data, see `identity.data_fingerprint`.
        resize: Sizes a network of which tuning has changed an argument; None where no plan tunes one.
    """

    plan: Plan
    sizes: Mapping[ArmBudget, NetworkSize]
    code: Mapping[str, str]
    data: str | None = None
    resize: Callable[[ArmBudget, Mapping[str, Any]], NetworkSize] | None = None

    def definition(self, at: ArmBudget, given: Mapping[str, Any] | None = None) -> str:
        """All that defines the numbers of an arm's trials at a budget, but the seed, as text.

        Args:
            at: Arm and budget.
            given: Values in the place of the plan's.
        """
        plan = self.plan
        settings = arm_settings(plan, plan.arms[at.arm], given)
        arguments, since = settings["data"].get("init_args", {}), (*SINCE_ALL, SINCE.get(class_name(plan.data)))
        known = {k: v for k, v in arguments.items() if k not in WHERE and (k, v) not in since}
        settings["data"]["init_args"] = _crops_as_before(known)
        if plan.model is None:
            settings["model"]["budget"] = plain_limits(at.budget)
        else:
            settings["budget"] = plain_limits(at.budget)
        if plan.width is not None:
            settings["width"] = plan.width
        if plan.latency is not None:  # what was measured may be another width elsewhere
            settings["latency"] = [astuple(plan.latency), self.sizes[at].settings]
        if plan.metric != ACCURACY:
            settings["metric"] = astuple(plan.metric)
        text = json.dumps([settings, self.data], sort_keys=True, default=str)
        for now, before in BEFORE.items():
            text = text.replace(f'"{now}', f'"{before}')
        return text

    def comparison(self, at: ArmBudget, tuned: Mapping[str, Any] | None = None) -> list[Trial]:
        """The trials of one arm at one budget, a seed each.

        Args:
            at: Arm and budget.
            tuned: What tuning found, if there was tuning.
        """
        make = self._trials(at, tuned, None)
        return [make(self.plan.first_seed + i, i) for i in range(self.plan.seeds)]

    def tuning(self, at: ArmBudget, number: int, tuned: Mapping[str, Any], seeds: int) -> list[Trial]:
        """The trials by which a set of values is judged for one arm at one budget, a seed each, on one split.

        Args:
            at: Arm and budget.
            number: Number of the set.
            tuned: The values.
            seeds: Number of seeds.
        """
        make = self._trials(at, tuned, number)
        return [make(TUNING_SEED + self.plan.first_seed + i, i) for i in range(seeds)]

    def all(self, tuned: Mapping[ArmBudget, Mapping[str, Any] | None] | None = None) -> Iterator[Trial]:
        """Every trial of the comparison, all arms of a budget and a seed side by side.

        Args:
            tuned: What tuning found for each arm and budget, if there was tuning.
        """
        groups = [self.comparison(at, (tuned or {}).get(at)) for at in self.plan.arm_budgets]
        for seed in zip(*groups, strict=True):
            yield from seed

    def check(self) -> None:
        """Check that no two arms are trained alike: a trial of one would be that of the other, in one folder.

        Raises:
            UserError: Two are.
        """
        known: dict[str, str] = {}
        for at in self.plan.arm_budgets:
            other = known.setdefault(self.definition(at), at.arm)
            if other != at.arm:
                raise UserError(f"the arms {other!r} and {at.arm!r} are one and the same: give one another setting")

    def _trials(
        self, at: ArmBudget, tuned: Mapping[str, Any] | None, tuning: int | None
    ) -> Callable[[int, int], Trial]:
        """What makes the trials of an arm at a budget, of a seed and its number."""
        plan, code = self.plan, self.code[at.arm]
        definition = self.definition(at, _given(plan, tuned, tuning))
        arm, size = plan.arms[at.arm], self.sizes[at]
        if self.resize is not None and any(name.startswith(("backbone.", "model.")) for name in tuned or ()):
            size = self.resize(at, tuned or {})
        if arm.convert is not None:
            kind, options = arm.convert.kind, dict(arm.convert.kind_options or {})
        else:
            kind, options = (arm.kind, arm.kind_options) if plan.model is None else ("", {})

        def make(seed: int, number: int) -> Trial:
            digest = hashlib.sha256(f"{definition} {seed} {tuning is not None}".encode()).hexdigest()[:12]
            return Trial(
                id=f"{digest}-{code.rpartition('+')[2]}",
                arm=at.arm,
                kind=kind,
                kind_options=options,
                budget=at.budget,
                seed=seed,
                pair=number,
                parameters=size.parameters,
                flops=size.flops,
                widths=size.widths,
                impossible=size.impossible,
                tuned=None if tuned is None else dict(tuned),
                code=code,
                tuning=tuning,
                backbone="" if plan.model else class_name(plan.backbone_of(arm)),
                settings=size.settings,
                file_bytes=size.file_bytes,
            )

        return make

    def config(self, trial: Trial, uid: str) -> dict[str, Any]:
        """The complete config of a trial, which its process reads; its folder says where it runs.

        Args:
            trial: The trial.
            uid: Name of the sweep that no other has.
        """
        plan = self.plan
        settings = sized_settings(plan, trial)
        return {
            "seed_everything": trial.seed,
            **settings,
            "convergence": {"targets": list(plan.targets), "monitor": plan.monitor, "mode": plan.mode},
            "run": {
                "wandb_id": f"{uid}-{trial.id}",
                "title": f"{plan.name} {trial.title}",
                "group": plan.name,
                "job_type": trial.arm,
                "tags": [*plan.tags, plan.name, *([] if trial.tuning is None else ["tuning"])],
                "project": plan.project,
                "wandb": plan.wandb,
                "budget": plain_limits(trial.budget),
                "test": trial.tuning is None,
                "test_metric": plan.metric.test_metric,
            },
        }


def sized_settings(plan: Plan, trial: Trial) -> dict[str, Any]:
    """The sections `data`, `model` and `trainer` of a trial, with what gives its network its size."""
    settings = arm_settings(plan, plan.arms[trial.arm], _given(plan, trial.tuned, trial.tuning))
    for name, value in trial.settings.items():
        set_argument(settings, name, deepcopy(value))
    if (conversion := settings.pop("convert", None)) is not None:
        callbacks = settings["trainer"].get("callbacks") or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        settings["trainer"]["callbacks"] = [*callbacks, {"class_path": CONVERSION, "init_args": conversion}]
    return settings


def _crops_as_before(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of data, where random crops, if they have them, are said as they were: `in_memory` was false."""
    crops, in_memory = arguments.get("random_crops"), arguments.get("in_memory")
    if crops is None or (crops is False and in_memory is False):  # which there was not
        return arguments
    rest = {name: value for name, value in arguments.items() if name != "random_crops"}
    return {**rest, "in_memory": False} if crops else rest


def _given(plan: Plan, tuned: Mapping[str, Any] | None, tuning: int | None) -> dict[str, Any]:
    """What a trial is given in the place of the plan's values; those of tuning have one validation split."""
    return {**({} if tuning is None else one_split(plan)), **(tuned or {})}


def one_split(plan: Plan) -> dict[str, Any]:
    """The argument of the plan's data that gives all tuning trials one validation split, whatever their seed.

    It is `split_seed` or, of a class that has none, `seed`. Where the plan says either, or the class has neither, the
    split does not depend on the trial's seed, or nothing is known of it.
    """
    given = plan.data.get("init_args") or {}
    if not plan.data or any(given.get(name) is not None for name in SPLIT):
        return {}
    takes = {*given, *inspect.signature(resolve(plan.data["class_path"])).parameters}
    return {f"data.{name}": TUNING_SEED + plan.first_seed for name in [name for name in SPLIT if name in takes][:1]}
