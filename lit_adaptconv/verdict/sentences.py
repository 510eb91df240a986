"""A verdict in plain sentences."""

from __future__ import annotations

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import percentage, ratio
from lit_adaptconv.verdict.summaries import Comparison, SmallestBudget


def sentences(
    comparisons: tuple[Comparison, ...],
    smallest: tuple[SmallestBudget, ...],
    primary_arm: str,
    main_target: float,
    confidence: float,
    metric: Metric,
) -> tuple[str, ...]:
    """One sentence an arm and budget on steps to the main target and the metric, then one an arm on its size.

    Args:
        comparisons: All comparisons.
        smallest: All smallest budgets.
        primary_arm: The arm that the others are compared with.
        main_target: The target to speak of.
        confidence: Level of the intervals.
        metric: What the networks are judged by.
    """
    speed = [c for c in comparisons if c.measure == "steps" and c.target == main_target]
    final = {(c.arm, c.budget): c for c in comparisons if c.measure == metric}
    spoken = [_comparison(c, final[c.arm, c.budget], confidence, metric) for c in speed]
    if not speed:
        spoken.append(f"No claim: {primary_arm} is the only arm, so there is nothing to compare it with.")
    primary = next((s for s in smallest if s.arm == primary_arm and s.target == main_target), None)
    for s in smallest:
        if primary and s.arm != primary_arm and s.target == main_target:
            spoken.append(_smallest(s, primary, metric))
    return tuple(spoken)


def _at(budget: int | None) -> str:
    return "Without a budget" if budget is None else f"At {budget:,} parameters"


def _evidence(c: Comparison, confidence: float) -> str:
    interval = f"{percentage(confidence)} interval {c.interval_text}, " if c.interval else ""
    cut = f", {c.n_cut} of them cut off where training ended, which pulls the ratio towards 1" if c.n_cut else ""
    p = f", p = {c.p_text}" if c.p_holm is not None else ""
    return f"{interval}n = {c.n_pairs} pair{'s' if c.n_pairs != 1 else ''}{cut}{p}"


def _comparison(steps: Comparison, final: Comparison, confidence: float, metric: Metric) -> str:
    subject = f"{steps.arm}: " if steps.claim == "no claim" else ""
    evidence = f"{_speed(steps, confidence, metric)}; {_final(final, confidence, metric)}"
    if steps.estimate is None and steps.reason == final.reason:
        evidence = f"no claim: {steps.reason}"
    return f"{_at(steps.budget)}, {subject}{evidence}."


def _speed(c: Comparison, confidence: float, metric: Metric) -> str:
    target = metric.goal(c.target or 0.0)
    if c.estimate is None or (c.claim == "no claim" and c.ties == c.n_pairs):
        return f"no claim on steps to {target}: {c.reason}"
    times = f"{ratio(c.estimate)} times the steps of {c.primary}"
    if c.claim == "no claim":
        return f"no claim on steps to {target}: {c.reason} ({times}, {_evidence(c, confidence)})"
    return f"{c.arm} reaches {target} in {times} ({_evidence(c, confidence)})"


def _final(c: Comparison, confidence: float, metric: Metric) -> str:
    if c.estimate is None:
        return f"no claim on test {metric.name}: {c.reason}"
    unit = " percentage points" if metric.percent else ""
    if c.claim == "no claim":
        difference = f"{metric.difference(c.estimate)}{unit}"
        return f"no claim on test {metric.name}: {c.reason} ({difference}, {_evidence(c, confidence)})"
    direction = "above" if c.estimate > 0 else "below"
    difference = f"{metric.gap(c.estimate)}{unit} {direction} {c.primary}'s"
    return f"{c.arm}'s test {metric.name} is {difference} ({_evidence(c, confidence)})"


def _smallest(s: SmallestBudget, primary: SmallestBudget, metric: Metric) -> str:
    goal = f"a mean test {metric.name} of {metric.goal(s.target)}"
    if s.ratio is None or s.at is None or primary.at is None:
        return f"No claim on the parameters that {s.arm} needs for {goal}: {s.reason}."
    times = ratio(max(s.ratio, 1 / s.ratio))
    if times == "1.00":
        times = "as many" if s.ratio == 1 else "about as many"
    else:
        times += " times as many" if s.ratio > 1 else " times fewer"
    return (
        f"Of the budgets tried, {s.arm} needs {s.at.parameters:,} parameters for {goal}, "
        f"{primary.arm} {primary.at.parameters:,}: {times}."
    )
