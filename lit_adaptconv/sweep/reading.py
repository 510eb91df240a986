"""Read a sweep's plan from a file, the command line or a mapping: once, every field checked and completed."""

from __future__ import annotations

import inspect
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import OptimizerCallable

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.built_in import resolve
from lit_adaptconv.measure.budget import Budget, plain_limits
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.models.placement import BackboneCallable
from lit_adaptconv.sweep.plan import OF_CLASSIFIER, Arm, LatencyLimit, Plan, Search, Tuning
from lit_adaptconv.sweep.settings import set_argument
from lit_adaptconv.train.class_defaults import parse_args
from lit_adaptconv.train.classifier import SchedulerCallable
from lit_adaptconv.train.parser import OneLineParser, known_classes
from lit_adaptconv.train.training import TRAINER_DEFAULTS
from lit_adaptconv.verdict.question import Question

DEFAULTS: dict[str, Any] = {
    "data": {"class_path": "lit_adaptconv.data.Digits"},
    "model": None,
    "backbone": {"class_path": "lit_adaptconv.models.LeNet5"},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
    "scheduler": {"class_path": "lit_adaptconv.train.OneCycle"},
}
TYPES: dict[str, Any] = {
    "data": pl.LightningDataModule,
    "model": pl.LightningModule,
    "backbone": BackboneCallable,
    "optimizer": OptimizerCallable,
    "scheduler": SchedulerCallable | None,
}


def plan_parser(prog: str = "adaptconv sweep") -> OneLineParser:
    """A parser of plans; commands add their own options."""
    parser = OneLineParser(prog=prog, description="Train arms × budgets × seeds, and compare them.")
    parser.add_argument("-c", "--config", action="config", help="Path to a plan in YAML.")
    parser.add_class_arguments(Plan, as_group=False, skip={*DEFAULTS, "trainer"})
    for name, type_ in TYPES.items():
        parser.add_argument(f"--{name}", type=type_, default=DEFAULTS[name])
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    return parser


def parse_plan(parser: OneLineParser, args: Sequence[str]) -> tuple[Plan, dict[str, Any]]:
    """Read a command line.

    Args:
        parser: From `plan_parser`, with further options.
        args: The arguments.

    Returns:
        The plan, complete, and the values of the further options.

    Raises:
        UsageError: They are not valid.
        UserError: A value is out of its range.
    """
    given = parse_args(parser, _without_former_budgets(args), tuple(DEFAULTS))
    content = _plain(given)
    del content["config"]
    options = {name: content.pop(name) for name in [*content] if name not in Plan.__dataclass_fields__}
    content["question"] = Question(**content["question"])
    arms = {name: Arm(**arm) for name, arm in content["arms"].items()}
    if content["model"] is not None:
        _leave_out_the_classifiers(content)
    if content["latency"] is not None:
        content["latency"] = LatencyLimit(**content["latency"])
    if content["tuning"] is not None:
        tuning = content["tuning"]
        space = {name: Search(**search) for name, search in tuning["space"].items()}
        content["tuning"] = Tuning(**{**tuning, "space": space})
    plan = Plan(**{**content, "arms": {name: _complete(arm) for name, arm in arms.items()}})
    if plan.tuning is not None:  # would the parser take the values of the space?
        example = {name: value for name, value in asdict(plan).items() if name in (*DEFAULTS, "trainer") and value}
        for number in range(max(len(search.examples) for search in plan.tuning.space.values())):
            for name, search in plan.tuning.space.items():
                set_argument(example, name, search.examples[number % len(search.examples)])
            parser.parse_object({"name": plan.name, "arms": {}, **example})
    return plan, options


def _without_former_budgets(args: Sequence[str]) -> list[str]:
    """The arguments, where budgets of the command line take the place of a file's.

    The parser alone would take over a file's limits that the command line does not name, budget by budget.
    """
    found: list[str] = []
    for arg in args:
        if option := re.match(r"--(?:arms\.[^=]*\.)?budgets(?==|$)", arg):
            found.append(f"{option[0]}=[]")
        found.append(arg)
    return found


def read_plan(source: Path | Mapping[str, Any] | Plan) -> Plan:
    """Read a plan from its file, from a mapping with the content of one, or from a plan that is not complete.

    Raises:
        UsageError: It is not valid.
        UserError: A value is out of its range.
    """
    if isinstance(source, Path):
        return parse_plan(plan_parser("plan"), ["--config", str(source)])[0]
    content = _content(source) if isinstance(source, Plan) else source
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.yaml"
        file.write_text(json.dumps(content, default=_plain_value), encoding="utf-8")
        return read_plan(file)


def _plain_value(value: Any) -> Any:
    return value.plain if isinstance(value, Budget) else str(value)


def _plain(given: Namespace) -> dict[str, Any]:
    """The same as a file would hold it: lists for tuples, text for paths."""
    plain: dict[str, Any] = json.loads(json.dumps(given.as_dict(), default=str))
    return plain


def _complete(arm: Arm) -> Arm:
    """The arm with its network by its dotted name, which may be given by the short one."""
    convert = arm.convert if arm.convert is None else ConvertOptions(**arm.convert)  # type: ignore[arg-type]
    arm = replace(arm, model={name: _as_given(value) for name, value in arm.model.items()})
    if arm.backbone is None:
        return replace(arm, convert=convert)
    known = known_classes("backbone")
    if arm.backbone in known:
        return replace(arm, convert=convert, backbone=f"{known[arm.backbone].__module__}.{arm.backbone}")
    try:
        found = resolve(arm.backbone)
    except (ValueError, ImportError, AttributeError):
        shown = ", ".join(known)
        raise UserError(f"unknown class {arm.backbone!r} for the backbone of an arm; known: {shown}") from None
    return replace(arm, convert=convert, backbone=f"{found.__module__}.{found.__qualname__}")


def _as_given(value: Any) -> Any:
    """A value of an arm's model without what the parser puts into a class there: None for what a caller will give.

    Such are the parameters of an optimizer and the optimizer of a schedule.
    """
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {name: _as_given(part) for name, part in value.items()}
    given = value.get("init_args") or {}
    try:
        parameters = inspect.signature(resolve(value["class_path"])).parameters
    except (ValueError, ImportError, AttributeError):
        return value  # a short name, in which the parser puts nothing
    unset = {n for n, p in parameters.items() if p.default is p.empty and given.get(n, value) is None}
    return {**value, "init_args": {name: _as_given(part) for name, part in given.items() if name not in unset}}


def _leave_out_the_classifiers(content: dict[str, Any]) -> None:
    """Leave out of a plan with a model of its own what the parser has filled in for an `ImageClassifier`.

    Raises:
        UserError: It was not filled in but given.
    """
    usual = _plain(plan_parser().parse_object({"name": content["name"], "arms": {}}))
    for name in OF_CLASSIFIER:
        if content.pop(name) != usual[name]:
            raise UserError(f"{name} is for an ImageClassifier: give it as an argument of the plan's model")


def plan_text(plan: Plan) -> str:
    """The complete plan as YAML, which `adaptconv sweep --config` reads."""
    return yaml.safe_dump(_content(plan), sort_keys=False, allow_unicode=True)


def _content(plan: Plan) -> dict[str, Any]:
    """What a file holds: without what the other kind of plan has, and without classes that are not given."""
    unused = {"model"} if plan.model is None else {*OF_CLASSIFIER}
    unused |= {name for name in DEFAULTS if getattr(plan, name) == {}}
    content = {name: value for name, value in asdict(plan).items() if name not in unused}
    content["budgets"] = [*map(plain_limits, plan.budgets)]
    for name, arm in plan.arms.items():
        content["arms"][name]["budgets"] = None if arm.budgets is None else [*map(plain_limits, arm.budgets)]
    return content


def build_data(plan: Plan) -> pl.LightningDataModule:
    """Make the plan's data module; it reads nothing yet."""
    parser = OneLineParser(prog="adaptconv sweep")
    parser.add_argument("--data", type=pl.LightningDataModule)
    data: pl.LightningDataModule = parser.instantiate_classes(parser.parse_object({"data": dict(plan.data)})).data
    return data
