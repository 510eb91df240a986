"""The smallest network of each arm that is good enough: "n times fewer parameters" is a ratio of two of these."""

from __future__ import annotations

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.summaries import MetricSummary, SmallestBudget


def smallest_budgets(
    summaries: tuple[MetricSummary, ...], targets: tuple[float, ...], primary_arm: str, metric: Metric
) -> tuple[SmallestBudget, ...]:
    """For each arm and target, find the fewest parameters with which the mean in the test reaches the target.

    Args:
        summaries: One an arm × budget.
        targets: Values of the metric.
        primary_arm: The arm whose parameters the others' are divided by.
        metric: What the means are of.

    Returns:
        One an arm × target. There is no ratio where an arm never gets there, or has unfinished trials at a budget up
        to that one (a mean over those that finished would flatter it), or was not tried at a smaller budget that the
        other was tried at (it might have got there), unless it was tried in between and fell short.
    """
    arms = tuple(dict.fromkeys(a.at.arm for a in summaries))
    tried = {arm: {a.at.budget for a in summaries if a.at.arm == arm and a.at.n} for arm in arms}
    found = []
    for target in targets:
        enough = {arm: _smallest([a for a in summaries if a.at.arm == arm], target, metric) for arm in arms}
        theirs, objection = enough[primary_arm]
        for arm in arms:
            mine, reason = enough[arm]
            ratio = None
            if arm != primary_arm:
                reason = reason or objection
                reason = reason or _untried(mine, tried[arm], tried[primary_arm])
                reason = reason or _untried(theirs, tried[primary_arm], tried[arm])
                if not reason and mine and theirs and mine.at.parameters and theirs.at.parameters:
                    ratio = mine.at.parameters / theirs.at.parameters
            at = mine.at if mine else None
            found.append(SmallestBudget(arm, target, at, mine.mean if mine else None, ratio, reason))
    return tuple(found)


def _smallest(summaries: list[MetricSummary], target: float, metric: Metric) -> tuple[MetricSummary | None, str]:
    """The smallest that is good enough, and what forbids a ratio with it."""
    sized = sorted((a for a in summaries if a.at.parameters), key=lambda a: a.at.parameters or 0)
    enough = next((a for a in sized if a.mean is not None and metric.reaches(a.mean, target)), None)
    if enough is None:
        return None, f"{summaries[0].at.arm} reaches it at no budget that was tried"
    size = enough.at.parameters or 0
    unfinished = sum(a.at.n_unfinished for a in sized if (a.at.parameters or 0) <= size)
    return enough, f"{unfinished} of {enough.at.arm}'s trials did not finish" if unfinished else ""


def _untried(smallest: MetricSummary | None, own: set[int | None], others: set[int | None]) -> str:
    """Why this may not be the arm's smallest: a budget of the other's, above those at which the arm fell short."""
    if smallest is None or smallest.at.budget is None:
        return ""
    short = max((b for b in own if b is not None and b < smallest.at.budget), default=0)
    between = [b for b in others if b is not None and short < b < smallest.at.budget]
    return f"{smallest.at.arm} was not tried at {max(between):,} parameters" if between else ""
