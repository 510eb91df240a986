"""A verdict as tables of text."""

from __future__ import annotations

from lit_adaptconv.verdict.sentences import p_value, percent, points, ratio
from lit_adaptconv.verdict.summaries import (
    MEASURES,
    AccuracySummary,
    Arm,
    ArmSummary,
    Comparison,
    Measure,
    SmallestBudget,
    SummaryTable,
)

NONE = "–"
_NAMES = {"steps": "steps", "epochs": "epochs", "flops": "FLOPs", "seconds": "seconds", "accuracy": "test accuracy"}


def verdict_table(comparisons: tuple[Comparison, ...], main_target: float, confidence: float) -> SummaryTable:
    """Steps to the main target and test accuracy, an arm and budget a row."""
    columns = ["Budget", "Arm", "Pairs"]
    for name in (f"Steps to {percent(main_target)}", "Test accuracy, points"):
        columns += [name, f"{percent(confidence)} interval", "p", "P(beats primary)", "Claim"]
    speed = [c for c in comparisons if c.measure == "steps" and c.target == main_target]
    accuracy = {(c.arm, c.budget): c for c in comparisons if c.measure == "accuracy"}
    rows = []
    for s in speed:
        a = accuracy[s.arm, s.budget]
        cells = [estimate_text(s), *evidence_texts(s), s.claim, estimate_text(a), *evidence_texts(a), a.claim]
        rows.append((_budget(s.budget), s.arm, str(max(s.n_pairs, a.n_pairs)), *cells))
    title = f"Against {speed[0].primary}" if speed else "Nothing to compare: one arm"
    return SummaryTable(title, tuple(columns), tuple(rows))


def accuracy_table(accuracy: tuple[AccuracySummary, ...], confidence: float) -> SummaryTable:
    """Test accuracy in percent, an arm and budget a row."""
    columns = ("Arm", "Budget", "Parameters", "FLOPs", "Trials", "Unfinished", "Mean %", "SD", percent(confidence))
    rows = []
    for a in accuracy:
        interval = f"{100 * a.interval.low:.2f} to {100 * a.interval.high:.2f}" if a.interval else NONE
        mean = NONE if a.mean is None else f"{100 * a.mean:.2f}"
        rows.append((*_arm(a.at), mean, NONE if a.sd is None else f"{100 * a.sd:.2f}", interval))
    return SummaryTable("Test accuracy", columns, tuple(rows))


def convergence_table(convergence: tuple[ArmSummary, ...], confidence: float) -> SummaryTable:
    """Share that reached each target, and Kaplan–Meier medians; an arm, budget and target a row."""
    columns = ("Arm", "Budget", "Parameters", "FLOPs", "Trials", "Unfinished", "Target", "Reached")
    medians = tuple(f"Median {_NAMES[m]} ({percent(confidence)})" for m in MEASURES)
    by_row: dict[tuple[Arm, float], dict[Measure, ArmSummary]] = {}
    for s in convergence:
        by_row.setdefault((s.at, s.target), {})[s.measure] = s
    rows = [
        (*_arm(at), percent(target), f"{each['steps'].n_reached}/{at.n}", *(median_text(each[m]) for m in MEASURES))
        for (at, target), each in by_row.items()
    ]
    return SummaryTable("Convergence", columns + medians, tuple(rows))


def comparison_table(comparisons: tuple[Comparison, ...], confidence: float) -> SummaryTable:
    """Every comparison, with the reason where there is no claim."""
    columns = ("Budget", "Arm", "Against", "Measure", "Target", "Pairs", "Cut off", "Estimate")
    evidence = (f"{percent(confidence)} interval", "p", "p (Holm)", "P(beats primary)", "Claim", "Reason")
    rows = []
    for c in comparisons:
        interval, p_holm, probability = evidence_texts(c)
        head = (_budget(c.budget), c.arm, c.primary, _NAMES[c.measure], NONE if c.target is None else percent(c.target))
        counts = (str(c.n_pairs), str(c.n_cut) if c.target is not None else NONE, estimate_text(c))
        p = NONE if c.p is None else p_value(c.p)
        rows.append((*head, *counts, interval, p, p_holm, probability, c.claim, c.reason or NONE))
    return SummaryTable("All comparisons", columns + evidence, tuple(rows))


def smallest_budget_table(smallest: tuple[SmallestBudget, ...]) -> SummaryTable:
    """The fewest parameters with which each arm's mean test accuracy reaches each target."""
    columns = ("Target", "Arm", "Parameters", "Mean test accuracy", "Parameters / primary's", "Note")
    rows = []
    for s in smallest:
        parameters = NONE if s.at is None or s.at.parameters is None else f"{s.at.parameters:,}"
        accuracy = NONE if s.accuracy is None else f"{100 * s.accuracy:.2f} %"
        share = NONE if s.ratio is None else ratio(s.ratio)
        rows.append((percent(s.target), s.arm, parameters, accuracy, share, s.reason or NONE))
    return SummaryTable("Smallest network that is accurate enough", columns, tuple(rows))


def _arm(at: Arm) -> tuple[str, ...]:
    sizes = (NONE if size is None else f"{size:,}" for size in (at.parameters, at.flops))
    return (at.arm, _budget(at.budget), *sizes, str(at.n), str(at.n_unfinished))


def _budget(budget: int | None) -> str:
    return NONE if budget is None else f"{budget:,}"


def estimate_text(c: Comparison) -> str:
    """A ratio or a difference in points, "–" for what is not known."""
    if c.estimate is None:
        return NONE
    return points(c.estimate) if c.measure == "accuracy" else f"× {ratio(c.estimate)}"


def evidence_texts(c: Comparison) -> tuple[str, str, str]:
    """Interval, corrected p and share of pairs won, "–" for what is not known."""
    show = points if c.measure == "accuracy" else ratio
    interval = f"{show(c.interval.low)} to {show(c.interval.high)}" if c.interval else NONE
    p = NONE if c.p_holm is None else p_value(c.p_holm)
    return interval, p, NONE if c.probability is None else f"{c.probability:.2f}"


def median_text(s: ArmSummary) -> str:
    """A median with its interval, "–" for what is not known."""
    if s.median is None:
        return NONE
    low, high = (NONE if end is None else _amount(end, s.measure) for end in s.interval)
    return f"{_amount(s.median, s.measure)} ({low} to {high})"


def _amount(value: float, measure: Measure) -> str:
    if measure == "flops":
        return f"{value:.3g}"
    return f"{value:,.0f}" if measure == "steps" else f"{value:,.2f}"
