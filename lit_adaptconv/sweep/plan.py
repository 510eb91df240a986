"""What a sweep compares: arms × budgets × seeds, and the conditions that they share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Budget, Limits, limits_of, limits_text, plain_limits
from lit_adaptconv.measure.latency import Runtime, seconds_of
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.question import Question

ClassConfig = Mapping[str, Any]
"""A class and its arguments as a config file writes them: `{"class_path": ..., "init_args": {...}}`."""

OF_CLASSIFIER = ("backbone", "optimizer", "scheduler", "label_smoothing")
"""Fields of a plan that are arguments of `ImageClassifier`; a plan with a `model` of its own has none of them."""
ARM_OF_CLASSIFIER = ("kind", "kind_options", "backbone_options", "backbone")
"""Fields of its arms that are, likewise."""
LARGEST_SEED = 2**32 - 2_000_000
"""Room for the seeds of tuning trials, which follow."""
TARGETS = (0.9, 0.95, 0.98, 0.99)


class ArmBudget(NamedTuple):
    """An arm at a budget; None is its usual size."""

    arm: str
    budget: Limits | None


@dataclass(frozen=True)
class Arm:
    """What a sweep compares: a kind with its options, or another variant of a model.

    Args:
        kind: Conv kind: a known name, which `adaptconv kinds` lists, or the dotted path of a class.
        kind_options: Further arguments of that convolution, such as `rank`.
        backbone_options: Arguments of the backbone that differ in this arm, such as `activation`.
        backbone: Class of this arm's network, if it is not the plan's; its only arguments are `backbone_options`.
        budgets: Which of the plan's budgets this arm is trained at; None means all.
        model: Arguments of the LightningModule that differ in this arm, nested ones with dots.
        convert: Convolutions of the network to swap for another kind.

    Examples:
        >>> Arm("adaptive_low_rank", kind_options={"rank": 1}).kind
        'adaptive_low_rank'
    """

    kind: str = "standard"
    kind_options: dict[str, Any] = field(default_factory=dict)
    backbone_options: dict[str, Any] = field(default_factory=dict)
    backbone: str | None = None
    budgets: list[int | Budget] | None = None
    model: dict[str, Any] = field(default_factory=dict)
    convert: ConvertOptions | None = None

    def __post_init__(self) -> None:
        """Bring the budgets into their simplest form.

        Raises:
            UserError: One is none.
        """
        if self.budgets is not None:
            object.__setattr__(self, "budgets", _simplest(self.budgets))


@dataclass(frozen=True)
class Search:
    """The values of one tuned hyperparameter: a range, or a list of choices.

    Args:
        low: Smallest value.
        high: Largest value; two whole numbers make a range of whole numbers.
        log: Whether the range is searched on a logarithmic scale.
        choices: The values to choose from, instead of a range.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None

    @property
    def examples(self) -> Sequence[Any]:
        """Values of the space: the ends of the range, or all choices."""
        return (self.low, self.high) if self.choices is None else self.choices

    def check(self, name: str) -> None:
        """Raise a `UserError` if this is no space to search."""
        if self.choices is not None:
            if self.low is not None or self.high is not None or not self.choices:
                raise UserError(f"tuning.space of {name!r} takes either choices or low and high")
            if any(not isinstance(choice, (str, int, float)) and choice is not None for choice in self.choices):
                raise UserError(f"tuning.space of {name!r}: choices are numbers, words, true, false or null")
            if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
                raise UserError(f"tuning.space of {name!r} has a choice twice: each counts the same, once")
        elif self.low is None or self.high is None or not -math.inf < self.low < self.high < math.inf:
            raise UserError(f"tuning.space of {name!r} needs low < high, got {self.low} and {self.high}")
        elif self.log and self.low <= 0:
            raise UserError(f"tuning.space of {name!r} is searched on a logarithmic scale: low must be above 0")


@dataclass(frozen=True)
class Tuning:
    """Hyperparameter search on the validation split: every arm at every budget tries the same values.

    Args:
        trials: Number of sets of values; None tries all combinations, where all of the space are choices.
        space: What is searched: a dotted name in the plan, such as `optimizer.lr` or `data.batch_size`, and its values.
        seeds: Number of seeds by whose mean a set of values is judged, on one validation split.
    """

    trials: int | None = None
    space: dict[str, Search] = field(default_factory=dict)
    seeds: int = 2


@dataclass(frozen=True)
class LatencyLimit:
    """What an image may take, as it is measured where the sweep begins: each network is the widest within it.

    Args:
        at_most: Most time of one image, the median, with its unit: 2ms.
        runtime: In onnxruntime or in PyTorch.
        threads: CPU threads.
    """

    at_most: str
    runtime: Runtime = "onnx"
    threads: int = 1

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UserError: It is no time, or the threads are below 1.
        """
        seconds_of("latency.at_most", self.at_most)
        if self.threads < 1:
            raise UserError(f"latency.threads must be at least 1, got {self.threads}")

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return seconds_of("latency.at_most", self.at_most)


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Args:
        name: Name of the sweep.
        arms: What is compared, by the names that tables show.
        budgets: Largest numbers of trainable parameters, or several limits such as {parameters: 5000, flops: 2e6}; none
            trains every backbone at its usual width.
        latency: The most time that one image may take, such as {at_most: 2ms}; None means no limit.
        seeds: Number of seeds. Trial i of every arm has the same seed, so the same validation split and data order.
        first_seed: Seed of the first trial; the others follow.
        targets: Values of the monitored metric to reach.
        monitor: The metric that judges the trials, under the name that the model logs in validation.
        mode: "max" if more of it is better, "min" if less is.
        test_metric: Its name in the test; None replaces `val` by `test`.
        primary_arm: The arm that the others are compared with; by default the first.
        question: What is asked: `{measure: accuracy}`, the metric in the test, or `{measure: steps, target: 0.98}`.
            Its answers are claims, over all arms and budgets; everything else that the verdict says is exploratory.
        evaluate_every: Epochs between two evaluations; below 1 a fraction, from 1 on a whole number.
        trainer: Settings of Lightning's trainer, such as `max_epochs`.
        label_smoothing: Share of the target probability that is spread over all classes.
        tuning: Hyperparameter search before the comparison; none trains with the plan's values.
        wandb: Whether trials are logged to Weights & Biases (offline without a login).
        project: Weights & Biases project.
        tags: Weights & Biases tags.
        cpus: CPU threads per trial; by default the machine's cores divided by the number of workers.
        gpus: GPUs per trial, or a fraction of one; by default one, or as many as `trainer.devices` says.
        retries: How often a trial is restarted after the system killed its process.
        data: The data module, as `adaptconv fit` takes it.
        model: The LightningModule; None is `ImageClassifier` with `backbone`, `optimizer`, `scheduler` and
            `label_smoothing`.
        width: The argument of the model that is adjusted to meet a budget, a whole number or a factor. By default it
            is the backbone's width, or how much an arm converts.
        backbone: The network, as `adaptconv fit` takes it.
        optimizer: The optimizer, likewise.
        scheduler: The learning-rate schedule, likewise; None keeps the rate.

    Examples:
        >>> plan = Plan(name="mine", arms={"standard": Arm(), "low_rank": Arm("adaptive_low_rank")}, budgets=[5000])
        >>> plan.seeds
        10
    """

    name: str
    arms: dict[str, Arm]
    budgets: list[int | Budget] = field(default_factory=list)
    latency: LatencyLimit | None = None
    seeds: int = 10
    first_seed: int = 0
    targets: list[float] = field(default_factory=lambda: list(TARGETS))
    monitor: str = "val/accuracy"
    mode: Literal["max", "min"] = "max"
    test_metric: str | None = None
    primary_arm: str | None = None
    question: Question = field(default_factory=Question)
    evaluate_every: float = 1.0
    trainer: dict[str, Any] = field(default_factory=dict)
    label_smoothing: float = 0.0
    tuning: Tuning | None = None
    wandb: bool = True
    project: str = "lit-adaptconv"
    tags: list[str] = field(default_factory=list)
    cpus: int | None = None
    gpus: float | None = None
    retries: int = 2
    data: ClassConfig = field(default_factory=dict)
    model: ClassConfig | None = None
    width: str | None = None
    backbone: ClassConfig = field(default_factory=dict)
    optimizer: ClassConfig = field(default_factory=dict)
    scheduler: ClassConfig | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without building anything.

        Raises:
            UserError: A value is out of its range.
        """
        if not self.name:
            raise UserError("the sweep needs a name")
        if not self.arms:
            raise UserError("arms is empty: name at least one, such as {standard: {kind: standard}}")
        if self.primary_arm is not None and self.primary_arm not in self.arms:
            raise UserError(f"primary_arm {self.primary_arm!r} is not among the arms: {', '.join(self.arms)}")
        object.__setattr__(self, "budgets", _simplest(self.budgets))
        if len(set(self.budgets)) < len(self.budgets):
            raise UserError(f"budgets must be different, got {', '.join(map(limits_text, self.budgets))}")
        for name, arm in self.arms.items():
            self._check_arm(name, arm)
        self._check_targets()
        if self.first_seed + self.seeds > LARGEST_SEED:
            raise UserError(f"first_seed and the seeds after it must be below {LARGEST_SEED}, got {self.first_seed}")
        self.question.check(self.metric, self.targets)
        for name, value, least in (("seeds", self.seeds, 1), ("first_seed", self.first_seed, 0)):
            if value < least:
                raise UserError(f"{name} must be at least {least}, got {value}")
        if self.evaluate_every <= 0 or (self.evaluate_every > 1 and self.evaluate_every % 1):
            raise UserError(f"evaluate_every must be a fraction or a whole number of epochs, got {self.evaluate_every}")
        if self.cpus is not None and self.cpus < 1:
            raise UserError(f"cpus must be at least 1, got {self.cpus}")
        if self.retries < 0:
            raise UserError(f"retries must be at least 0, got {self.retries}")
        if self.gpus is not None and self.gpus < 0:
            raise UserError(f"gpus must be at least 0, got {self.gpus}")
        if self.tuning is not None:
            self._check_tuning(self.tuning)

    def _check_arm(self, name: str, arm: Arm) -> None:
        if arm.budgets is not None and not (arm.budgets and set(arm.budgets) <= set(self.budgets)):
            mine, plans = ([*map(plain_limits, budgets)] for budgets in (arm.budgets, self.budgets))
            raise UserError(
                f"the arm {name!r} has budgets {mine}, which must be one or more of the plan's, {plans}: "
                "change the one or the other"
            )
        if arm.convert is not None and arm.convert.budget is not None and self.budgets:
            raise UserError(f"the arm {name!r} is given budgets by the plan: leave out its convert.budget")
        given = [field for field in ARM_OF_CLASSIFIER if getattr(arm, field) != getattr(Arm(), field)]
        if self.model is not None and given:
            its = f"an arm of {class_name(self.model)} has model, convert and budgets"
            raise UserError(f"the arm {name!r} has {given[0]}, which is for an ImageClassifier; {its}")

    def _check_targets(self) -> None:
        if not self.targets or len(set(self.targets)) < len(self.targets) or not all(map(math.isfinite, self.targets)):
            raise UserError(f"targets must be one or more different values of {self.monitor}, got {self.targets}")
        if self.metric.percent:
            if any(not 0 < target <= 1 for target in self.targets):
                raise UserError(f"targets are shares between 0 and 1, such as 0.9 for 90 %, got {self.targets}")
        elif self.mode == "min" and self.targets == [*TARGETS]:
            raise UserError(f"targets are needed: the values of {self.monitor} to reach, such as [0.5, 0.2]")

    def _check_tuning(self, tuning: Tuning) -> None:
        if not tuning.space:
            raise UserError("tuning.space is empty: name what is searched, such as optimizer.lr")
        ranges = [name for name, search in tuning.space.items() if search.choices is None]
        if tuning.trials is None and ranges:
            raise UserError(f"tuning.trials is needed: the space has a range, of {ranges[0]!r}, so it has no end")
        if (tuning.trials is not None and tuning.trials < 1) or tuning.seeds < 1:
            raise UserError("tuning.trials and tuning.seeds must be at least 1; leave tuning out for none")
        tunable = ("data", "trainer", *(OF_CLASSIFIER if self.model is None else ("model",)))
        for name, search in tuning.space.items():
            first, _, rest = name.partition(".")
            if first not in tunable:
                raise UserError(f"tuning.space can't search {name!r}; names begin with {', '.join(tunable)}")
            if (first == "label_smoothing") == bool(rest):
                raise UserError(f"tuning.space: {name!r} is not a single value; name one of its arguments")
            if getattr(self, first) is None:
                raise UserError(f"tuning.space searches {name!r}, but the plan has no {first}")
            if sum(argument_name(other) == argument_name(name) for other in tuning.space) > 1:
                raise UserError(f"tuning.space: {argument_name(name)!r} is searched twice: leave out one of them")
            search.check(name)
            if self.latency is not None and first in ("backbone", "model"):
                raise UserError(f"tuning.space: {name!r} changes the network, whose width latency has decided")

    @property
    def reference(self) -> str:
        """Name of the arm that the others are compared with."""
        return self.primary_arm or next(iter(self.arms))

    @property
    def metric(self) -> Metric:
        """What trials are judged by."""
        tested = self.test_metric or re.sub(r"^val(id|idation)?(?=[/_])", "test", self.monitor)
        return Metric(self.monitor, self.mode, tested)

    def backbone_of(self, arm: Arm) -> ClassConfig:
        """The class of an arm's network, and its arguments before `backbone_options`."""
        return self.backbone if arm.backbone is None else {"class_path": arm.backbone, "init_args": {}}

    @property
    def backbones(self) -> tuple[str, ...]:
        """Names of the classes of the arms' networks; none where the plan has a model of its own."""
        if self.model is not None:
            return ()
        return tuple(dict.fromkeys(class_name(self.backbone_of(arm)) for arm in self.arms.values()))

    @property
    def arm_budgets(self) -> list[ArmBudget]:
        """Every arm at every budget of its own, or of the plan."""
        return [
            ArmBudget(name, budget)
            for budget in (self.budgets or (None,))
            for name, arm in self.arms.items()
            if arm.budgets is None or budget in arm.budgets
        ]


def _simplest(budgets: Sequence[int | Mapping[str, Any] | Budget]) -> list[Limits]:
    try:
        return [limits_of(budget) for budget in budgets]
    except UserError as error:
        raise UserError(f"budgets: {error}") from None


def argument_name(name: str) -> str:
    """A dotted name as short as it can be: `optimizer.lr` for `optimizer.init_args.lr`."""
    return ".".join(part for part in name.split(".") if part != "init_args")


def class_name(config: ClassConfig) -> str:
    """The name of a class, without its module."""
    return str(config.get("class_path", "")).rpartition(".")[2]
