"""A verdict in plain sentences."""

from __future__ import annotations

from lit_adaptconv.verdict.summaries import Comparison, SmallestBudget


def sentences(
    comparisons: tuple[Comparison, ...],
    smallest: tuple[SmallestBudget, ...],
    primary_arm: str,
    main_target: float,
    confidence: float,
) -> tuple[str, ...]:
    """One sentence an arm and budget on steps to the main target and test accuracy, then one an arm on its size.

    Args:
        comparisons: All comparisons.
        smallest: All smallest budgets.
        primary_arm: The arm that the others are compared with.
        main_target: The target to speak of.
        confidence: Level of the intervals.
    """
    speed = [c for c in comparisons if c.measure == "steps" and c.target == main_target]
    accuracy = {(c.arm, c.budget): c for c in comparisons if c.measure == "accuracy"}
    spoken = [_comparison(c, accuracy[c.arm, c.budget], confidence) for c in speed]
    if not speed:
        spoken.append(f"No claim: {primary_arm} is the only arm, so there is nothing to compare it with.")
    primary = next((s for s in smallest if s.arm == primary_arm and s.target == main_target), None)
    for s in smallest:
        if primary and s.arm != primary_arm and s.target == main_target:
            spoken.append(_smallest(s, primary))
    return tuple(spoken)


def percent(value: float) -> str:
    """0.98 as "98 %"."""
    return f"{100 * value:.10g} %"


def points(difference: float) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return f"{100 * difference:+.2f}"


def p_value(p: float) -> str:
    """A p value to two digits."""
    return f"{p:.2g}"


def ratio(value: float) -> str:
    """A ratio to three digits."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


def _at(budget: int | None) -> str:
    return "Without a budget" if budget is None else f"At {budget:,} parameters"


def _evidence(c: Comparison, confidence: float) -> str:
    show = points if c.measure == "accuracy" else ratio
    interval = (
        f"{percent(confidence)} interval {show(c.interval.low)} to {show(c.interval.high)}, " if c.interval else ""
    )
    cut = f", {c.n_cut} of them cut off where training ended, which pulls the ratio towards 1" if c.n_cut else ""
    p = f", p = {p_value(c.p_holm)}" if c.p_holm is not None else ""
    return f"{interval}n = {c.n_pairs} pair{'s' if c.n_pairs != 1 else ''}{cut}{p}"


def _comparison(steps: Comparison, accuracy: Comparison, confidence: float) -> str:
    subject = f"{steps.arm}: " if steps.claim == "no claim" else ""
    evidence = f"{_speed(steps, confidence)}; {_accuracy(accuracy, confidence)}"
    if steps.estimate is None and steps.reason == accuracy.reason:
        evidence = f"no claim: {steps.reason}"
    return f"{_at(steps.budget)}, {subject}{evidence}."


def _speed(c: Comparison, confidence: float) -> str:
    target = percent(c.target or 0.0)
    if c.estimate is None or (c.claim == "no claim" and c.ties == c.n_pairs):
        return f"no claim on steps to {target}: {c.reason}"
    times = f"{ratio(c.estimate)} times the steps of {c.primary}"
    if c.claim == "no claim":
        return f"no claim on steps to {target}: {c.reason} ({times}, {_evidence(c, confidence)})"
    return f"{c.arm} reaches {target} in {times} ({_evidence(c, confidence)})"


def _accuracy(c: Comparison, confidence: float) -> str:
    if c.estimate is None:
        return f"no claim on test accuracy: {c.reason}"
    if c.claim == "no claim":
        difference = f"{points(c.estimate)} percentage points"
        return f"no claim on test accuracy: {c.reason} ({difference}, {_evidence(c, confidence)})"
    direction = "above" if c.estimate > 0 else "below"
    difference = f"{abs(100 * c.estimate):.2f} percentage points {direction} {c.primary}'s"
    return f"{c.arm}'s test accuracy is {difference} ({_evidence(c, confidence)})"


def _smallest(s: SmallestBudget, primary: SmallestBudget) -> str:
    goal = f"a mean test accuracy of {percent(s.target)}"
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
