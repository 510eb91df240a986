"""What a verdict is made of: typed, finite numbers, or None where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count, p_value, ratio

Measure = Literal["steps", "epochs", "flops", "seconds"]
MEASURES: tuple[Measure, ...] = ("steps", "epochs", "flops", "seconds")
"""What the time to a target is counted in."""
Claim = Literal["better", "worse", "no claim"]


def to_target(measure: Measure, target: float) -> str:
    """Column of the results that holds what it took to reach a target, such as `steps_to_0.95`."""
    return f"{measure}_to_{target:g}"


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """An arm at a budget, with its trials.

    Attributes:
        arm: Name of the arm.
        budget: Parameters that it may have, or None.
        parameters: Parameters that it has, or None where no trial recorded them.
        flops: FLOPs of a forward pass of one sample, or None where no trial recorded them.
        n: Trials, whatever became of them.
        n_unfinished: Of these, failed, diverged or interrupted.
    """

    arm: str
    budget: int | None
    parameters: int | None
    flops: int | None
    n: int
    n_unfinished: int

    @property
    def texts(self) -> tuple[str, ...]:
        """The same for a table."""
        return (self.arm, *map(count, (self.budget, self.parameters, self.flops)), str(self.n), str(self.n_unfinished))


@dataclass(frozen=True)
class SpeedSummary:
    """How fast an arm reached a target.

    Attributes:
        at: The arm and the budget.
        target: The target.
        measure: What the time is counted in.
        n_reached: Trials that reached the target.
        median: Kaplan–Meier median of the time to the target, or None where fewer than half reached it.
        interval: Interval of the median; its upper end is None where too few reached the target to know one.
    """

    at: Cell
    target: float
    measure: Measure
    n_reached: int
    median: float | None
    interval: tuple[float | None, float | None]


@dataclass(frozen=True)
class MetricSummary:
    """How good an arm's finished models are.

    Attributes:
        at: The arm and the budget.
        n: Trials with a value of the test metric.
        mean: Its mean, or None without any.
        sd: Standard deviation (n − 1), or None with fewer than two.
        interval: Interval of the mean, or None with fewer than five or where all are equal.
    """

    at: Cell
    n: int
    mean: float | None
    sd: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Comparison:
    """An arm against the primary arm, at one budget, on one measure.

    Attributes:
        arm: Name of the arm.
        primary: Name of the arm that it is compared with.
        budget: The budget, or None.
        measure: A measure of speed, or the metric, for its values in the test.
        target: The target, or None for the metric.
        n_pairs: Pairs in which both trials can be compared.
        n_cut: Of these, pairs of which a time is cut off where the shorter of its trials ended.
        estimate: Geometric mean of arm's time / primary's time (below 1: the arm needs less), or mean difference of
            the metric, arm − primary; None without pairs.
        interval: Interval of the estimate, or None where there is none.
        p: Two-sided p of the sign-flip test, or None without pairs.
        p_holm: The same after Holm's correction over the budgets, or None without pairs.
        wins: Pairs that the arm wins.
        ties: Pairs that are tied.
        claim: "better" or "worse" is the arm; or "no claim".
        reason: Why there is no claim; empty where there is one.
    """

    arm: str
    primary: str
    budget: int | None
    measure: Measure | Metric
    target: float | None
    n_pairs: int
    n_cut: int
    estimate: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None
    wins: int
    ties: int
    claim: Claim
    reason: str

    def shown(self, effect: float) -> str:
        """A ratio, or a difference with its sign, as text."""
        return self.measure.difference(effect) if isinstance(self.measure, Metric) else ratio(effect)

    @property
    def estimate_text(self) -> str:
        """The estimate; "–" if it is not known."""
        if self.estimate is None:
            return NONE
        return ("" if isinstance(self.measure, Metric) else "× ") + self.shown(self.estimate)

    @property
    def interval_text(self) -> str:
        """The interval; "–" if there is none."""
        return f"{self.shown(self.interval.low)} to {self.shown(self.interval.high)}" if self.interval else NONE

    @property
    def p_text(self) -> str:
        """The corrected p; "–" if there is none."""
        return NONE if self.p_holm is None else p_value(self.p_holm)

    @property
    def probability(self) -> float | None:
        """Share of the pairs that the arm wins, ties counted as half: P(arm beats primary)."""
        return (self.wins + self.ties / 2) / self.n_pairs if self.n_pairs else None

    @property
    def undecided(self) -> bool:
        """Whether there are pairs, but in none of them it is known which trial reached the target first."""
        return 0 < self.n_pairs == self.n_cut == self.ties


@dataclass(frozen=True)
class SmallestBudget:
    """The smallest network of an arm whose mean in the test reaches a target.

    Attributes:
        arm: Name of the arm.
        target: The target.
        at: The arm at that budget, or None where no budget of the sweep is enough.
        mean: Its mean of the test metric, or None.
        ratio: Parameters of it / parameters of the primary arm's (below 1: the arm needs fewer), or None.
        reason: Why there is no ratio; empty where there is one, or for the primary arm itself.
    """

    arm: str
    target: float
    at: Cell | None
    mean: float | None
    ratio: float | None
    reason: str


@dataclass(frozen=True)
class SummaryTable:
    """A table of text, for a screen or a page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
