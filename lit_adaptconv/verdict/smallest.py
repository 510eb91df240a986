"""The fewest parameters with which each arm is good enough, with what the seeds leave open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.observations import Observations
from lit_adaptconv.verdict.statistics import Array
from lit_adaptconv.verdict.summaries import Bounds, Cell, MetricSummary, SmallestBudget

RESAMPLES = 1_999
"""Times that the seeds are drawn anew, for the intervals."""


@dataclass(frozen=True)
class _Curve:
    """An arm's mean in validation over the logarithm of its parameters.

    Attributes:
        sizes: Parameters, ascending, shape `(budgets,)`.
        means: Means, more is better, shape `(1 + resamples, budgets)`; the first is that of the seeds as they are.
    """

    sizes: Array
    means: Array

    def needed(self, target: float) -> Array:
        """Where the curve, held from falling, passes the target: 0 if its first is enough, infinite if none is."""
        held = np.maximum.accumulate(self.means, 1)
        enough = held >= target - 1e-12
        first = enough.argmax(1)
        each = np.arange(len(held))
        after, before = held[each, first], held[each, np.maximum(first - 1, 0)]
        logs = np.log(self.sizes)
        step = np.where(after > before, (target - before) / np.where(after > before, after - before, 1.0), 1.0)
        found = logs[np.maximum(first - 1, 0)] + step * (logs[first] - logs[np.maximum(first - 1, 0)])
        return np.where(enough.any(1), np.where(first == 0, 0.0, np.exp(found)), np.inf)


def smallest_budgets(
    observations: Observations,
    finished: tuple[MetricSummary, ...],
    targets: tuple[float, ...],
    metric: Metric,
    confidence: float = 0.95,
) -> tuple[SmallestBudget, ...]:
    """For each arm and target, find the fewest parameters with which the mean in validation reaches the target.

    The network is chosen in validation and its mean in the test reported, so that the test chooses nothing. Between two
    networks the mean is taken to be linear in the logarithm of the parameters.

    Args:
        observations: The trials.
        finished: Means in the test, one an arm × budget.
        targets: Values of the metric.
        metric: What the means are of.
        confidence: Level of the intervals, which are percentiles of resampled seeds.

    Returns:
        One an arm × target. There is no ratio where an arm never gets there, or has unfinished trials (a mean over
        those that finished would flatter it).
    """
    curves = {arm: _curve(observations, a, metric) for a, arm in enumerate(observations.arms)}
    tested = {(s.at.arm, s.at.budget): s for s in finished}
    cells = observations.cells()
    found = []
    primary = observations.arms[0]
    for target in targets:
        signed = metric.sign * target
        needed = {arm: curve.needed(signed) for arm, curve in curves.items() if curve is not None}
        for a, arm in enumerate(observations.arms):
            at = _chosen(observations, a, cells[a], metric, target)
            mine, theirs = needed.get(arm), needed.get(primary)
            reason = ""
            if arm != primary:
                reason = _objection(arm, mine, cells[a]) or _objection(primary, theirs, cells[0])
            ratio, bounds = None, Bounds(None, None)
            if arm != primary and not reason and mine is not None and theirs is not None:
                ratio = float(mine[0] / theirs[0])
                bounds = _percentiles(mine[1:], theirs[1:], confidence)
            summary = tested.get((arm, at.budget)) if at else None
            alone = np.ones(1) if mine is None else np.ones(len(mine) - 1)
            found.append(
                SmallestBudget(
                    arm,
                    target,
                    at,
                    summary.mean if summary else None,
                    float(mine[0]) if mine is not None and 0 < mine[0] < np.inf else None,
                    Bounds(None, None) if mine is None else _percentiles(mine[1:], alone, confidence),
                    ratio,
                    bounds,
                    reason,
                )
            )
    return tuple(found)


def _curve(observations: Observations, arm: int, metric: Metric) -> _Curve | None:
    values = np.where(observations.status("done"), observations.column("val_metric"), np.nan)[arm]
    sizes = np.where(np.isfinite(values), observations.column("parameters")[arm], -np.inf)
    parameters = np.where(np.isfinite(sizes) & (sizes > 0), sizes, -np.inf).max(1)
    places = np.flatnonzero(np.isfinite(parameters) & np.isfinite(values).any(1))
    if not len(places):
        return None
    places = places[np.argsort(parameters[places], kind="stable")]
    random = np.random.default_rng(arm)
    means = []
    for b in places:
        sample = metric.sign * values[b][np.isfinite(values[b])]
        drawn = sample[random.integers(0, len(sample), (RESAMPLES, len(sample)))].mean(1)
        means.append(np.append(sample.mean(), drawn))
    return _Curve(parameters[places], np.stack(means, 1))


def _chosen(
    observations: Observations, arm: int, cells: list[Cell | None], metric: Metric, target: float
) -> Cell | None:
    values = np.where(observations.status("done"), observations.column("val_metric"), np.nan)[arm]
    sized = sorted((c.parameters, b) for b, c in enumerate(cells) if c is not None and c.parameters)
    for _, b in sized:
        sample = values[b][np.isfinite(values[b])]
        if len(sample) and metric.reaches(float(sample.mean()), target):
            return cells[b]
    return None


def _objection(arm: str, needed: Array | None, cells: list[Cell | None]) -> str:
    if needed is None or not np.isfinite(needed[0]):
        return f"{arm} reaches it at no budget that was tried"
    unfinished = sum(c.n_unfinished for c in cells if c is not None)
    if unfinished:
        return f"{unfinished} of {arm}'s trials did not finish"
    if needed[0] == 0:
        return f"{arm} reaches it at the smallest budget that was tried, and may at fewer parameters"
    return ""


def _percentiles(mine: Array, theirs: Array, confidence: float) -> Bounds:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = mine / theirs
    ratios = np.sort(np.where(np.isnan(ratios), np.inf, ratios))
    tail = int(np.floor((1 - confidence) / 2 * (len(ratios) + 1)))
    ends = (ratios[max(tail - 1, 0)], ratios[len(ratios) - max(tail, 1)])
    low, high = (float(end) if np.isfinite(end) and end > 0 else None for end in ends)
    return Bounds(low, high)
