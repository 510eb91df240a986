"""Read a sweep's plan, every field from a file or the command line, and build what its networks need."""

from __future__ import annotations

import inspect
import json
import pkgutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv, conv_kind
from lit_adaptconv.models.backbones.base import Backbone, Width
from lit_adaptconv.models.network import BackboneCallable
from lit_adaptconv.sweep.plan import Arm, Plan, Search, Tuning
from lit_adaptconv.sweep.sizing import Networks
from lit_adaptconv.train.class_defaults import parse_args
from lit_adaptconv.train.classifier import SchedulerCallable
from lit_adaptconv.train.parser import OneLineParser, known_classes

DEFAULTS: dict[str, Any] = {
    "data": {"class_path": "lit_adaptconv.data.Digits"},
    "backbone": {"class_path": "lit_adaptconv.models.LeNet5"},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
    "scheduler": {"class_path": "lit_adaptconv.train.OneCycle"},
}
TYPES: dict[str, Any] = {
    "data": ImageData,
    "backbone": BackboneCallable,
    "optimizer": OptimizerCallable,
    "scheduler": SchedulerCallable | None,
}


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep runs, which its results do not depend on.

    Args:
        output: Folder of the sweep; by default `runs/<name>`.
        engine: "local" runs trials on this machine, "ray" on a cluster.
        workers: Number of trials at the same time; by default one for each core, GPU share or cluster slot.
        ray_address: Address of a running cluster; by default one is started here.
        dry_run: Whether only to print the trials, their exact sizes, and the estimated time.
        accept_old: Whether trials that other code of the package finished are taken as they are.
        export_wandb: File to write the plan to, as a Weights & Biases sweep, instead of running it.
    """

    output: str | None = None
    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    ray_address: str | None = None
    dry_run: bool = False
    accept_old: bool = False
    export_wandb: str | None = None


def parse_plan(args: list[str]) -> tuple[Plan, SweepOptions]:
    """Read the plan and the options of `adaptconv sweep`.

    Raises:
        SystemExit: They are not valid; the error has been printed in one line.
        UserError: A value is out of its range.
    """
    parser = OneLineParser(prog="adaptconv sweep", description="Train arms × budgets × seeds, and compare them.")
    parser.add_argument("-c", "--config", action="config", help="Path to a plan in YAML.")
    parser.add_class_arguments(Plan, as_group=False, skip=set(DEFAULTS))
    for name, type_ in TYPES.items():
        parser.add_argument(f"--{name}", type=type_, default=DEFAULTS[name])
    parser.add_argument("--output", type=str | None, help="Folder of the sweep; by default runs/<name>.")
    parser.add_argument("--engine", type=Literal["local", "ray"], default="local")
    parser.add_argument("--workers", type=int | None, help="Number of trials at the same time.")
    parser.add_argument("--ray-address", type=str | None, help="Address of a running cluster; else one is started.")
    parser.add_argument("--dry-run", action="store_true", help="Print the trials, their sizes and the estimated time.")
    parser.add_argument("--accept-old", action="store_true", help="Keep trials that other code of the package ran.")
    parser.add_argument("--export-wandb", type=str | None, help="Write the plan as a Weights & Biases sweep.")
    given = parse_args(parser, args, tuple(DEFAULTS)).as_dict()
    del given["config"]
    content: dict[str, Any] = json.loads(json.dumps(given, default=str))  # plain data: lists for tuples, text for paths
    options = {name: content.pop(name) for name in SweepOptions.__dataclass_fields__}
    arms = {name: Arm(**arm) for name, arm in content["arms"].items()}
    content["arms"] = {name: replace(arm, backbone=_dotted(arm.backbone)) for name, arm in arms.items()}
    if content["tuning"] is not None:
        tuning = content["tuning"]
        content["tuning"] = Tuning(**{**tuning, "space": {n: Search(**s) for n, s in tuning["space"].items()}})
    return Plan(**content), SweepOptions(**options)


def _dotted(backbone: str | None) -> str | None:
    """The dotted name of a network's class, which may be given by its short name.

    Raises:
        UserError: There is no such class.
    """
    if backbone is None:
        return None
    known = known_classes("backbone")
    if backbone in known:
        return f"{known[backbone].__module__}.{backbone}"
    try:
        found = pkgutil.resolve_name(backbone)
    except (ValueError, ImportError, AttributeError):
        raise UserError(f"unknown class {backbone!r} for the backbone of an arm; known: {', '.join(known)}") from None
    return f"{found.__module__}.{found.__qualname__}"


def plan_text(plan: Plan) -> str:
    """The complete plan as YAML, which `adaptconv sweep --config` reads."""
    return yaml.safe_dump(asdict(plan), sort_keys=False, allow_unicode=True)


def build_data(plan: Plan) -> ImageData:
    """Make the plan's data module; it reads nothing yet."""
    data: ImageData = _instantiate("data", dict(plan.data))
    return data


def networks(plan: Plan, data: ImageData) -> dict[str, Networks]:
    """What makes the networks of each arm.

    Raises:
        UserError: Unknown conv kind or option, or a network whose widths can't be scaled.
        SystemExit: Unknown option of the backbone; the error has been printed in one line.
    """
    made: dict[str, Networks] = {}
    for name, arm in plan.arms.items():
        config = plan.backbone_of(arm)
        _check_options(name, arm, config["class_path"])
        arguments = {**(config.get("init_args") or {}), **arm.backbone_options}
        backbone: BackboneCallable = _instantiate("backbone", {**config, "init_args": arguments})
        if isinstance(backbone, nn.Module):
            raise UserError(
                "the backbone of a sweep must be a subclass of lit_adaptconv.models.Backbone, whose widths are "
                f"scaled to meet budgets; {config['class_path']} is none (docs/sweeps.md shows one)"
            )

        def build(conv: Conv, width: Width, backbone: BackboneCallable = backbone) -> Backbone:
            return backbone(data.in_channels, data.num_classes, data.image_size, conv, width)

        made[name] = Networks(build, conv_kind(arm.kind, arm.kind_options), (data.in_channels, *data.image_size))
    return made


def _check_options(name: str, arm: Arm, class_path: str) -> None:
    backbone = pkgutil.resolve_name(class_path)
    parameters = inspect.signature(backbone).parameters
    options = [option for option, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [option for option in arm.backbone_options if option not in parameters]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise UserError(
            f"backbone_options of the arm {name!r}: {backbone.__name__} has no option {unknown[0]!r}; it has "
            + (", ".join(options) or "none")
        )


def _instantiate(name: str, config: dict[str, Any]) -> Any:
    parser = OneLineParser(prog="adaptconv sweep")
    parser.add_argument(f"--{name}", type=TYPES[name])
    return parser.instantiate_classes(parser.parse_object({name: config}))[name]


def output_folder(plan: Plan, options: SweepOptions) -> Path:
    """The sweep's folder."""
    return Path(options.output) if options.output else Path("runs") / plan.name
