"""Exact size of every network of a sweep, without training one, and what its config needs to have that size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace

from lit_adaptconv.errors import UserError, told_in_one_line
from lit_adaptconv.layers.built_in import resolve
from lit_adaptconv.measure.budget import UNITS, Budget, Limits
from lit_adaptconv.measure.count import count_parameters, flops_of
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.models.parameter_formula import on_meta
from lit_adaptconv.sweep.plan import Arm, ArmBudget, Plan, class_name
from lit_adaptconv.sweep.settings import argument, arm_settings, check_arguments, set_argument
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.model_and_data import SHAPE
from lit_adaptconv.train.parser import OneLineParser


@dataclass(frozen=True)
class NetworkSize:
    """A network's size, or why there is none.

    Attributes:
        parameters: Trainable parameters.
        flops: FLOPs of a forward pass of one sample, a multiply-add counting two; 0 where they are not known.
        widths: Width of every layer, or of the model.
        impossible: Why no network meets the budget; None if one does.
        settings: What gives the arm's network this size, by dotted names in its settings.
        file_bytes: Bytes of its weights, where the budget limits them.
    """

    parameters: int = 0
    flops: int = 0
    widths: tuple[int, ...] = ()
    impossible: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    file_bytes: int | None = None

    @property
    def sizes(self) -> dict[str, int | None]:
        """What the network has of each thing that a budget can limit."""
        return {"parameters": self.parameters, "flops": self.flops, "bytes": self.file_bytes}

    @property
    def network(self) -> tuple[object, ...] | None:
        """What is the same of the same network at another budget; None where there is none."""
        return (self.parameters, self.flops, self.widths) if self.parameters and self.widths else None


class Network:
    """What an arm trains, at any size: an `ImageClassifier`, or a LightningModule of one's own.

    Args:
        plan: The plan.
        arm: The arm.
        data: The plan's data module.
        tuned: Values that tuning gives in the place of the plan's.

    Raises:
        UserError: The model, or an argument of it, is not valid.
    """

    def __init__(
        self, plan: Plan, arm: Arm, data: pl.LightningDataModule, tuned: Mapping[str, Any] | None = None
    ) -> None:
        self._settings = arm_settings(plan, arm, tuned)
        self._name = "ImageClassifier" if plan.model is None else class_name(plan.model)
        self._width = None if plan.width is None else f"model.{plan.width.removeprefix('model.')}"
        self._parser = _parser(own=plan.model is not None)
        kind = ImageClassifier if plan.model is None else resolve(plan.model["class_path"])
        self._classifies = isinstance(kind, type) and issubclass(kind, ImageClassifier)
        if self._classifies:
            for name, value in _shape(data).items():
                set_argument(self._settings["model"], name, value)

    def build(self, settings: Mapping[str, Any], meta: bool = False) -> pl.LightningModule:
        """Build the module as a trial does.

        Args:
            settings: What gives it its size.
            meta: Whether to build it of shapes alone; what can't be is built whole.

        Raises:
            UserError: It can't be built.
        """
        config = self._config.clone()
        config["convert"] = dict(self._settings.get("convert") or {})
        for name, value in settings.items():
            set_argument(config, name, value)
        convert = config.pop("convert")

        def make() -> pl.LightningModule:
            module: pl.LightningModule = self._parser.instantiate_classes(config).model
            module.configure_model()
            return ConvertOptions(**convert).apply(module) if convert else module  # type: ignore[return-value]

        shown = ", ".join(f"{name} = {value}" for name, value in settings.items())
        with told_in_one_line(f"building {self._name}{' with ' if shown else ''}{shown}"):
            if meta:
                try:
                    return on_meta(make)
                except Exception as error:  # such as torch.linspace(…).tolist(): there are no numbers
                    if not isinstance(error.__cause__ or error, RuntimeError):
                        raise
            return make()

    def size(self, budget: Limits | None) -> NetworkSize:
        """Size the network that a trial will train.

        Args:
            budget: Largest number of trainable parameters, or other limits too; None takes the usual size.

        Raises:
            UserError: The network can't be built at its usual size, or the width does not change it.
        """
        usual = self._usual
        if budget is None:
            return usual
        limits = Budget.of(budget)
        self._check_width(limits)
        try:
            return self._within(limits)
        except UserError as error:
            return NetworkSize(impossible=str(error))

    @cached_property
    def _config(self) -> Namespace:
        """The complete config of the module at its usual size."""
        config: Namespace = self._parser.parse_object({"model": self._settings["model"]})
        return config

    @cached_property
    def _usual(self) -> NetworkSize:
        return self._measured({})

    def _within(self, budget: Budget) -> NetworkSize:
        if self._width is not None:
            width = self._width
            try:
                found = widest(lambda value: self._sizes({width: value}, budget), self._usual_width, budget)
            except UserError as error:
                raise UserError(f"no {self._name} fits: {error}") from None
            return self._measured({width: found}, budget)
        if self._classifies and self._usual.widths and "convert" not in self._settings:
            fitting = self._measured({"model.budget": budget.plain}, budget)
            return replace(fitting, settings={"model.width": list(fitting.widths)})
        for place, section in (("convert", self._settings), ("model.convert", self._settings["model"])):
            if section.get("convert"):
                return self._measured({f"{place}.budget": budget.plain}, budget)
        for name, value in self._sizes({}, budget).items():
            if value > budget.limits[name]:
                raise UserError(
                    f"{self._name} has {value:,} {UNITS[name]}, more than {budget.limits[name]:,}: name its argument "
                    "that meets a budget as the plan's width, or convert convolutions in this arm"
                )
        return self._measured({}, budget)

    def _sizes(self, settings: Mapping[str, Any], budget: Budget) -> dict[str, int]:
        """What a network has of each thing that a budget limits."""
        module = self.build(settings, meta=True)
        counts = {"parameters": count_parameters, "flops": _flops, "bytes": budget.file_bytes}
        found = {name: counts[name](module) or 0 for name in budget.limits}
        if found.get("flops") == 0:
            raise UserError(f"FLOPs of {self._name} are not known, so no budget can limit them")
        return found

    def _measured(self, settings: dict[str, Any], budget: Budget | None = None) -> NetworkSize:
        module = self.build(settings, meta=True)
        widths = tuple(getattr(module, "widths", ()))
        whole = tuple(value for value in settings.values() if self._width is not None and isinstance(value, int))
        return NetworkSize(
            count_parameters(module),
            _flops(module),
            widths or whole,
            settings=settings,
            file_bytes=None if budget is None else budget.file_bytes(module),
        )

    @cached_property
    def _usual_width(self) -> int | float:
        assert self._width is not None
        name = self._width.removeprefix("model.")
        try:
            value = argument(self._config, self._width)
        except KeyError:
            raise UserError(f"width: {self._name} has no argument {name!r}") from None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise UserError(f"width: {name} of {self._name} is {value!r}: give it a positive number to begin with")
        return value

    def _check_width(self, budget: Budget) -> None:
        if self._width is not None:
            usual = self._usual_width
            one, two = (self._sizes({self._width: value}, budget) for value in (usual, 2 * usual))
            for limit, size in one.items():
                if two[limit] <= size:
                    name = self._width.removeprefix("model.")
                    raise UserError(
                        f"width: {name} does not make {self._name} larger: it has {size:,} {UNITS[limit]} with "
                        f"{usual}, {two[limit]:,} with {2 * usual}"
                    )


def networks(plan: Plan, data: pl.LightningDataModule) -> dict[str, Network]:
    """What each arm trains.

    Raises:
        UserError: A name in the plan is not one of an argument.
    """
    made = {}
    if plan.width is not None:
        check_arguments("width", plan.model, {plan.width.removeprefix("model."): None})
    for name, arm in plan.arms.items():
        check_arguments(f"model of the arm {name!r}", plan.model, arm.model)
        if plan.model is None:
            check_arguments(f"backbone_options of the arm {name!r}", plan.backbone_of(arm), arm.backbone_options)
        made[name] = Network(plan, arm, data)
    return made


def sizes(plan: Plan, networks: Mapping[str, Network]) -> dict[ArmBudget, NetworkSize]:
    """Size every arm's network at every budget.

    Raises:
        UserError: One can't be built at its usual size, or its width does not change it.
    """
    found = {}
    for at in plan.arm_budgets:
        try:
            found[at] = networks[at.arm].size(at.budget)
        except UserError as error:
            raise type(error)(f"arm {at.arm!r}: {error}") from error
    return found


def widest(count: Callable[[int | float], Mapping[str, int]], usual: int | float, budget: Budget) -> int | float:
    """Find the largest width within a budget, by bisection.

    Args:
        count: What the network has at a width of each thing that is limited, which never falls as the width grows.
        usual: A width from which it does grow; where it is a whole number, so is the result.
        budget: The budget.

    Raises:
        UserError: Even the smallest width has more.
    """
    whole, limits = isinstance(usual, int), budget.limits

    def fits(width: int | float) -> bool:
        return all(value <= limits[name] for name, value in count(width).items())

    low: int | float = 1 if whole else usual / 1024
    for name, value in count(low).items():
        if value > limits[name]:
            raise UserError(f"the narrowest, {low:g}, has {value:,} {UNITS[name]}, more than {limits[name]:,}")
    high = usual
    while fits(high):
        low, high = high, 2 * high
        if high > 64 * usual and count(high) == count(low):  # there is no more to be had
            return low
    while high - low > (1 if whole else 1e-7 * high):
        middle = (low + high) // 2 if whole else (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    rounded = (int(low * 10**digits) / 10**digits for digits in range(1, 8))
    return low if whole else next((value for value in rounded if value and count(value) == count(low)), low)


@cache
def _parser(own: bool) -> OneLineParser:
    """What reads and builds an `ImageClassifier`, or a module of one's own; it takes time to make and keeps nothing."""
    parser = OneLineParser(prog="adaptconv sweep")
    if own:
        parser.add_subclass_arguments(pl.LightningModule, "model", required=True)
    else:
        parser.add_class_arguments(ImageClassifier, "model")
    return parser


def _shape(data: pl.LightningDataModule) -> dict[str, Any]:
    missing = [name for name in SHAPE if not hasattr(data, name)]
    if missing:
        raise UserError(
            f"{type(data).__name__} does not say {', '.join(missing)}, which ImageClassifier needs: give data that do, "
            "or a model of your own"
        )
    return {name: getattr(data, name) for name in SHAPE}


def _flops(module: pl.LightningModule) -> int:
    """FLOPs of a forward pass of one sample; 0 where they are not known."""
    try:
        known = flops_of(module)
        return known.forward if known else 0
    except Exception:  # of a forward pass that needs more than shapes, or an example of another type
        return 0
