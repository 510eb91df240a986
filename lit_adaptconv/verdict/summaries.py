"""What a verdict is made of: typed, finite numbers, or None where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from lit_adaptconv.measure.budget import Limits, limits_text
from lit_adaptconv.verdict.budget_share import budget_share, share_text
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count, p_value, percentage, ratio

Measure = Literal["steps", "epochs", "flops", "seconds"]
MEASURES: tuple[Measure, ...] = ("steps", "epochs", "flops", "seconds")
"""What the time to a target is counted in."""
Answer = Literal["better", "worse", "equivalent", "undecided"]
"""What is claimed of an arm against the primary arm; "undecided" claims nothing."""
Method = Literal["permutation", "pairs", "model", "shares", "budgets", "none"]
"""Where the evidence comes from: see `docs/fair_comparison.md`."""

NEW_SEEDS = "for new seeds"
"""What an interval over the seeds covers: other seeds, the same test images."""
NEW_SEEDS_AND_IMAGES = "for new seeds and images"
"""What an interval over both covers: other seeds, and other test images of the same kind."""


def interval_headings(confidence: float, images: bool) -> tuple[str, ...]:
    """Headings of the intervals of a table, which say what they cover.

    Args:
        confidence: Their level.
        images: Whether there is one for new seeds and images.
    """
    covered = (NEW_SEEDS, NEW_SEEDS_AND_IMAGES) if images else (NEW_SEEDS,)
    return tuple(f"{percentage(confidence)} {what}" for what in covered)


def to_target(measure: Measure, target: float) -> str:
    """Column of the results that holds what it took to reach a target, such as `steps_to_0.95`."""
    return f"{measure}_to_{target:g}"


class Interval(NamedTuple):
    """A confidence interval of a mean."""

    low: float
    high: float


class Bounds(NamedTuple):
    """A confidence interval of an effect; an end that is not known is None."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """An arm at a budget, with its trials.

    Attributes:
        arm: Name of the arm.
        budget: Parameters that it may have, or other limits too; or None.
        parameters: Parameters that it has, or None where no trial recorded them.
        flops: FLOPs of a forward pass of one sample, or None where no trial recorded them.
        n: Trials, whatever became of them.
        n_unfinished: Of these, failed, diverged or interrupted.
        widths: Width of every layer; empty where no trial recorded them.
        file_bytes: Bytes of its weights, where the budget limits them.
        onnx_latency: Median seconds of one image in onnxruntime, or None where that was not measured.
        torch_latency: The same in PyTorch.
    """

    arm: str
    budget: Limits | None
    parameters: int | None
    flops: int | None
    n: int
    n_unfinished: int
    widths: tuple[int, ...] = ()
    file_bytes: int | None = None
    onnx_latency: float | None = None
    torch_latency: float | None = None

    @property
    def width(self) -> float | None:
        """Mean width of its layers."""
        return sum(self.widths) / len(self.widths) if self.widths else None

    @property
    def sizes(self) -> dict[str, int | None]:
        """What it has of each thing that a budget can limit."""
        return {"parameters": self.parameters, "flops": self.flops, "bytes": self.file_bytes}

    @property
    def network(self) -> tuple[object, ...] | None:
        """What is the same of the same network at another budget; None where its size is not known."""
        return (self.parameters, self.flops, self.widths) if self.parameters and self.widths else None

    @property
    def budget_share(self) -> float | None:
        """Share of the budget that it uses; of several limits, of the one of which it uses the most."""
        return budget_share(self.budget, self.sizes)

    @property
    def texts(self) -> tuple[str, ...]:
        """The same for a table."""
        share = share_text(self.budget, self.sizes)
        size = (limits_text(self.budget), count(self.parameters), share, count(self.flops))
        return (self.arm, *size, str(self.n), str(self.n_unfinished))


@dataclass(frozen=True)
class SpeedSummary:
    """How fast an arm reached a target.

    Attributes:
        at: The arm and the budget.
        target: The target.
        measure: What the time is counted in.
        n_reached: Trials that reached the target to stay, or twice running.
        n_once: Trials of which an evaluation reached it, whatever came after.
        median: Kaplan–Meier median of the time to the target, or None where fewer than half reached it.
        interval: Interval of the median between two of the times; an end is None where there are too few to know one.
    """

    at: Cell
    target: float
    measure: Measure
    n_reached: int
    n_once: int
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
        interval: Interval of the mean for new seeds, or None with fewer than two or where all are equal.
        interval_images: Interval of the mean for new seeds and new test images; None where the trials do not tell which
            images they got right.
    """

    at: Cell
    n: int
    mean: float | None
    sd: float | None
    interval: Interval | None
    interval_images: Interval | None


@dataclass(frozen=True)
class Comparison:
    """An arm against the primary arm, at one budget or over several together, on one measure.

    Attributes:
        arm: Name of the arm.
        primary: Name of the arm that it is compared with.
        budget: The budget; None without one, and over several.
        over: Number of budgets that the comparison is over.
        measure: A measure of speed, or the metric, for its values in the test.
        target: The target, or None for the metric.
        exploratory: Whether the plan did not ask this.
        method: Where the evidence comes from.
        step_cost: Of a ratio in seconds, where the cost of a step comes from: it was timed by turns when the sweep was
            over, or it is that of the trials' own seconds; else None.
        n: Trials of the arm that are compared.
        n_primary: Trials of the primary arm.
        n_cut: Of these trials, those that did not reach the target.
        estimate: Ratio of the arm's time to the primary's (below 1: the arm needs less), or difference of the metric,
            arm − primary; None where it is not known, and where only a bound is.
        bounds: Interval of the effect for new seeds; None where nothing is known.
        bounds_images: Interval of a difference of the metric for new seeds and new test images, on which no claim
            rests; None where the trials do not tell which images they got right.
        p: Two-sided p of no effect, or None.
        p_adjusted: The same, corrected for the family; at most 1 − confidence exactly where `bounds` excludes no
            effect.
        p_equivalent: Corrected p of two one-sided tests, of an effect beyond the margin; None without a margin.
        family: Comparisons that are corrected for.
        margin: Largest effect that is as good as none: a difference, or a share of the time.
        wins: Pairs of trials that the arm wins.
        ties: Pairs that are tied.
        n_pairs: Pairs of trials of one seed.
        answer: What is claimed.
        reason: Why it is undecided; of a claim, what else there is to know, or empty.
        seeds: Seeds of a new plan that would find an effect as large as the margin 4 times of 5; None where it is
            decided or not known.
    """

    arm: str
    primary: str
    budget: Limits | None
    over: int
    measure: Measure | Metric
    target: float | None
    exploratory: bool
    method: Method
    step_cost: Literal["by turns", "trials' own"] | None
    n: int
    n_primary: int
    n_cut: int
    estimate: float | None
    bounds: Bounds | None
    bounds_images: Bounds | None
    p: float | None
    p_adjusted: float | None
    p_equivalent: float | None
    family: int
    margin: float | None
    wins: int
    ties: int
    n_pairs: int
    answer: Answer
    reason: str
    seeds: int | None

    def shown(self, effect: float) -> str:
        """A ratio, or a difference with its sign, as text."""
        return self.measure.difference(effect) if isinstance(self.measure, Metric) else ratio(effect)

    @property
    def estimate_text(self) -> str:
        """The estimate, or the bound; "–" if nothing is known."""
        sign = "" if isinstance(self.measure, Metric) else "× "
        if self.estimate is not None:
            return sign + self.shown(self.estimate)
        if self.bounds is not None and self.bounds.low is not None:
            return f"at least {sign}{self.shown(self.bounds.low)}"
        if self.bounds is not None and self.bounds.high is not None:
            return f"at most {sign}{self.shown(self.bounds.high)}"
        return NONE

    @property
    def interval_text(self) -> str:
        """The interval; "–" if there is none, or the estimate is a bound."""
        if self.estimate is None or self.bounds is None:
            return NONE
        return self._between(self.bounds)

    @property
    def images_text(self) -> str:
        """The interval for new seeds and images; "–" where it is not known."""
        return NONE if self.estimate is None or self.bounds_images is None else self._between(self.bounds_images)

    def _between(self, bounds: Bounds) -> str:
        low, high = (NONE if end is None else self.shown(end) for end in bounds)
        return f"{low} to {high}"

    @property
    def p_text(self) -> str:
        """The corrected p; "–" if there is none."""
        return NONE if self.p_adjusted is None else p_value(self.p_adjusted)

    @property
    def method_text(self) -> str:
        """The method; of a ratio in seconds, how the cost of a step was found."""
        return self.method if self.step_cost is None else f"{self.method}; step's cost: {self.step_cost}"

    @property
    def n_text(self) -> str:
        """Trials of the two arms: one number where they are as many."""
        return f"{self.n}" if self.n == self.n_primary else f"{self.n} and {self.n_primary}"

    @property
    def margin_text(self) -> str:
        """The margin, with its unit."""
        if self.margin is None:
            return NONE
        if isinstance(self.measure, Metric):
            return f"{self.measure.margin(self.margin)}"
        return percentage(self.margin)

    @property
    def answer_text(self) -> str:
        """The answer, with what else belongs to it: "equivalent within 0.2 points", "worse (exploratory)"."""
        within = f" within {self.margin_text}" if self.answer == "equivalent" else ""
        return f"{self.answer}{within}{' (exploratory)' if self.exploratory and self.answer != 'undecided' else ''}"

    @property
    def probability(self) -> float | None:
        """Share of the pairs of one seed that the arm wins, ties counted as half: P(arm beats primary)."""
        return (self.wins + self.ties / 2) / self.n_pairs if self.n_pairs else None


@dataclass(frozen=True)
class SmallestBudget:
    """The fewest parameters with which an arm reaches a target.

    Attributes:
        arm: Name of the arm.
        target: The target.
        at: The smallest network whose mean in validation reaches the target, or None where none does.
        mean: Its mean of the test metric, or None.
        parameters: Where the curve of the means in validation over the parameters passes the target, or None.
        interval: Interval of that, from resampled seeds; an end is None where the curve passes the target beyond the
            networks that were tried.
        ratio: That / the primary arm's (below 1: the arm needs fewer), or None.
        ratio_interval: Interval of the ratio, likewise.
        reason: Why there is no ratio; empty where there is one, or for the primary arm itself.
    """

    arm: str
    target: float
    at: Cell | None
    mean: float | None
    parameters: float | None
    interval: Bounds
    ratio: float | None
    ratio_interval: Bounds
    reason: str


@dataclass(frozen=True)
class SummaryTable:
    """A table of text, for a screen or a page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
