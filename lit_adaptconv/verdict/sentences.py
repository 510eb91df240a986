"""A verdict in plain sentences."""

from __future__ import annotations

from collections.abc import Callable

from lit_adaptconv.measure.budget import Budget, Limits
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count, percentage, ratio
from lit_adaptconv.verdict.summaries import (
    NEW_SEEDS,
    NEW_SEEDS_AND_IMAGES,
    Bounds,
    Comparison,
    MetricSummary,
    SmallestBudget,
)


def sentences(
    comparisons: tuple[Comparison, ...],
    smallest: tuple[SmallestBudget, ...],
    finished: tuple[MetricSummary, ...],
    primary_arm: str,
    main_target: float,
    confidence: float,
    metric: Metric,
) -> tuple[str, ...]:
    """Say what is claimed on steps to the main target and on the metric, then what each arm needs in size.

    Args:
        comparisons: All comparisons.
        smallest: All smallest budgets.
        finished: One an arm × budget, for the sizes of its network.
        primary_arm: The arm that the others are compared with.
        main_target: The target to speak of.
        confidence: Level of the intervals.
        metric: What the networks are judged by.

    Returns:
        One an arm over all its budgets, where there are several, then one a budget of it; last one an arm on its size,
        where it or the primary arm was tried at several sizes: one size does not tell the fewest parameters.
    """
    spoken = []
    pairs: dict[tuple[str, bool, Limits | None], list[Comparison]] = {}
    for c in comparisons:
        if c.measure == metric or (c.measure == "steps" and c.target == main_target):
            pairs.setdefault((c.arm, c.over > 1, c.budget), []).append(c)
    for found in pairs.values():
        found.sort(key=lambda c: c.measure == metric)
        spoken.append(_comparison(found, confidence, metric))
    if not spoken:
        spoken.append(f"Undecided: {primary_arm} is the only arm, so there is nothing to compare it with.")
    primary = next((s for s in smallest if s.arm == primary_arm and s.target == main_target), None)
    for s in smallest:
        told = s.arm != primary_arm and s.target == main_target
        if primary and told and any(_has_several_sizes(arm, finished) for arm in (s.arm, primary_arm)):
            spoken.append(_smallest(s, primary, metric, confidence))
    return tuple(spoken)


def _has_several_sizes(arm: str, finished: tuple[MetricSummary, ...]) -> bool:
    return len({s.at.parameters or s.at.budget for s in finished if s.at.arm == arm}) > 1


def _comparison(found: list[Comparison], confidence: float, metric: Metric) -> str:
    c = found[0]
    where = "Over all budgets together" if c.over > 1 else "Without a budget"
    where = f"At {Budget.of(c.budget)}" if c.budget is not None else where
    parts = [_said(c, confidence, metric) for c in found]
    if len(found) == 2 and all(c.p is None for c in found) and found[0].reason == found[1].reason:
        parts = [f"undecided: {c.reason}"]
    return f"{where}, {c.arm} against {c.primary}: {'; '.join(parts)}."


def _said(c: Comparison, confidence: float, metric: Metric) -> str:
    """One comparison: "fewer steps to 98 %, × 0.85 (95 % interval …)", or "undecided on …"."""
    if isinstance(c.measure, Metric):
        subject = f"test {c.measure.name}"
        words = {"better": metric.better, "worse": metric.worse}
        effect = f"{c.estimate_text}{c.measure.unit}"
    else:
        subject = f"steps to {metric.goal(c.target or 0.0)}"
        words = {"better": f"fewer {subject}", "worse": f"more {subject}"}
        effect = c.estimate_text
    words["equivalent"] = f"equivalent {subject}, within {c.margin_text}"
    words["undecided"] = f"undecided on {subject}"
    if c.p is None:
        return f"{words[c.answer]}: {c.reason}"
    detail = f"{effect} ({evidence_text(c, confidence)})"
    if c.answer == "undecided":
        return f"{words[c.answer]}: {c.reason}, {detail}{further_text(c)}"
    return f"{words[c.answer]}, {detail}"


def evidence_text(c: Comparison, confidence: float) -> str:
    """Interval, number of trials and p, in brackets after an estimate."""
    known = c.estimate is not None and c.bounds is not None
    parts = [f"{percentage(confidence)} interval {c.interval_text} {NEW_SEEDS}"] if known else []
    if c.bounds_images is not None:
        parts.append(f"{c.images_text} {NEW_SEEDS_AND_IMAGES}")
    parts.append(f"n = {c.n_text}{f' at {c.over} budgets' if c.over > 1 else ''}")
    if c.n_cut:
        parts.append(f"{c.n_cut:,} trial{'s' * (c.n_cut > 1)} did not reach it")
    if c.p_adjusted is not None:
        parts.append(f"p = {c.p_text}")
    if c.exploratory:
        parts.append("exploratory")
    return ", ".join(parts)


def further_text(c: Comparison) -> str:
    """What a new plan would take; empty where that is not known."""
    return f"; a new plan with {c.seeds:,} seeds would find {c.margin_text} 4 times out of 5" if c.seeds else ""


def _smallest(s: SmallestBudget, primary: SmallestBudget, metric: Metric, confidence: float) -> str:
    goal = f"a mean {metric.name} of {metric.goal(s.target)}"
    if s.ratio is None or s.parameters is None or primary.parameters is None:
        return f"Undecided on the parameters that {s.arm} needs for {goal}: {s.reason}."
    share = f"× {ratio(s.ratio)}"
    interval = between(s.ratio_interval, ratio)
    return (
        f"For {goal} in validation, {s.arm} needs {count(round(s.parameters))} parameters, "
        f"{primary.arm} {count(round(primary.parameters))}: {share} ({percentage(confidence)} interval {interval}, "
        "exploratory)."
    )


def between(bounds: Bounds, shown: Callable[[float], str]) -> str:
    """An interval of which an end may not be known."""
    low, high = (NONE if end is None else shown(end) for end in bounds)
    return f"{low} to {high}"
