"""What the trials of an arm are given: the sections of an `adaptconv fit` config, and single settings in them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from jsonargparse import Namespace

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.built_in import resolve
from lit_adaptconv.sweep.plan import OF_CLASSIFIER, Arm, ClassConfig, Plan, argument_name
from lit_adaptconv.train.classifier import ImageClassifier

Section = dict[str, Any] | Namespace


def arm_settings(plan: Plan, arm: Arm, tuned: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The sections `data`, `model` and `trainer` of an arm, and `convert` for a model that has none of its own.

    What meets a budget is not among them.

    Args:
        plan: The plan.
        arm: The arm.
        tuned: Values that tuning gives in the place of the plan's, by their dotted names in it.
    """
    names = ("data", "trainer", *(OF_CLASSIFIER if plan.model is None else ("model",)))
    shared: dict[str, Any] = deepcopy({name: getattr(plan, name) for name in names})
    if plan.model is None:
        shared["backbone"] = {"init_args": {}, **deepcopy(dict(plan.backbone_of(arm)))}
    for name, value in (tuned or {}).items():
        set_argument(shared, name, value)
    trainer = shared.pop("trainer")
    often = plan.evaluate_every <= 1
    trainer["val_check_interval"] = float(plan.evaluate_every) if often else 1.0
    trainer["check_val_every_n_epoch"] = 1 if often else int(plan.evaluate_every)
    trainer["enable_progress_bar"] = False
    sections = {"data": shared.pop("data"), "model": shared.pop("model", shared), "trainer": trainer}
    if plan.model is None:
        for name, value in arm.backbone_options.items():
            set_argument(sections, f"model.backbone.{name}", value)
        sections["model"] |= {"kind": arm.kind, "kind_options": dict(arm.kind_options)}
    if arm.convert is not None:
        (sections["model"] if plan.model is None else sections)["convert"] = asdict(arm.convert)
    for name, value in arm.model.items():
        set_argument(sections["model"], name, deepcopy(value))
    return sections


def set_argument(settings: Section, name: str, value: Any) -> None:
    """Set what a dotted name means, such as `optimizer.lr`: an argument of a class, or a field of a section.

    Raises:
        UserError: What should have the argument is a single value, or none.
    """
    *parts, last = argument_name(name).split(".")
    for part in parts:
        section = _arguments(settings)
        if part not in section:
            section[part] = {}
        settings = section[part]
        if not isinstance(settings, (dict, Namespace)):
            raise UserError(f"{name!r} can't be set: {part} is {settings!r}, which has no arguments")
    _arguments(settings)[last] = value


def argument(settings: Section, name: str) -> Any:
    """What a dotted name means.

    Raises:
        KeyError: Nothing has it.
    """
    found: Any = settings
    for part in argument_name(name).split("."):
        if not isinstance(found, (dict, Namespace)):
            raise KeyError(name)
        found = _arguments(found)[part]
    return found


def _arguments(section: Section) -> Section:
    if "class_path" not in section:
        return section
    if not section.get("init_args"):
        section["init_args"] = {}
    arguments: Section = section["init_args"]
    return arguments


def check_arguments(what: str, config: ClassConfig | None, names: Mapping[str, Any]) -> None:
    """Check that a class takes arguments of these names.

    Args:
        what: Where the names stand in the plan.
        config: The class; None is `ImageClassifier`.
        names: The names; of a dotted one the first part counts.

    Raises:
        UserError: It does not; the message names those that it takes.
    """
    function = ImageClassifier if config is None else resolve(config["class_path"])
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # passed on to a base class, which the parser knows
    for name in names:
        first = name.removeprefix("init_args.").split(".")[0]
        if first not in parameters:
            near = difflib.get_close_matches(first, parameters, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            has = ", ".join(parameters) or "none"
            raise UserError(f"{what}: {function.__name__} has no argument {first!r}; {meant}it has {has}")
