"""A verdict as tables of text."""

from __future__ import annotations

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count, p_value, percentage, ratio
from lit_adaptconv.verdict.summaries import (
    MEASURES,
    Cell,
    Comparison,
    Measure,
    MetricSummary,
    SmallestBudget,
    SpeedSummary,
    SummaryTable,
)

_NAMES: dict[Measure, str] = {"steps": "steps", "epochs": "epochs", "flops": "FLOPs", "seconds": "seconds"}
_CELL = ("Arm", "Budget", "Parameters", "FLOPs", "Trials", "Unfinished")


def verdict_table(
    comparisons: tuple[Comparison, ...], main_target: float, confidence: float, metric: Metric
) -> SummaryTable:
    """Steps to the main target and the metric in the test, an arm and budget a row."""
    columns = ["Budget", "Arm", "Pairs"]
    for name in (f"Steps to {metric.goal(main_target)}", f"Test {metric.name},{metric.unit or ' difference'}"):
        columns += [name, f"{percentage(confidence)} interval", "p", "P(beats primary)", "Claim"]
    speed = [c for c in comparisons if c.measure == "steps" and c.target == main_target]
    final = {(c.arm, c.budget): c for c in comparisons if c.measure == metric}
    rows = []
    for s in speed:
        f = final[s.arm, s.budget]
        cells = [text for c in (s, f) for text in (c.estimate_text, *_evidence(c), c.claim)]
        rows.append((count(s.budget), s.arm, str(max(s.n_pairs, f.n_pairs)), *cells))
    title = f"Against {speed[0].primary}" if speed else "Nothing to compare: one arm"
    return SummaryTable(title, tuple(columns), tuple(rows))


def metric_table(finished: tuple[MetricSummary, ...], confidence: float, metric: Metric) -> SummaryTable:
    """The metric in the test, an arm and budget a row."""
    columns = (*_CELL, "Mean %" if metric.percent else "Mean", "SD", percentage(confidence))
    rows = []
    for a in finished:
        interval = " to ".join(map(metric.bare, a.interval)) if a.interval else NONE
        rows.append((*a.at.texts, metric.bare(a.mean), NONE if a.sd is None else metric.gap(a.sd), interval))
    return SummaryTable(f"Test {metric.name}", columns, tuple(rows))


def convergence_table(convergence: tuple[SpeedSummary, ...], confidence: float, metric: Metric) -> SummaryTable:
    """Share that reached each target, and Kaplan–Meier medians; an arm, budget and target a row."""
    columns = (*_CELL, "Target", "Reached", *(f"Median {_NAMES[m]} ({percentage(confidence)})" for m in MEASURES))
    by_row: dict[tuple[Cell, float], dict[Measure, SpeedSummary]] = {}
    for s in convergence:
        by_row.setdefault((s.at, s.target), {})[s.measure] = s
    rows = [
        (*at.texts, metric.goal(target), f"{each['steps'].n_reached}/{at.n}", *(median_text(each[m]) for m in MEASURES))
        for (at, target), each in by_row.items()
    ]
    return SummaryTable("Convergence", columns, tuple(rows))


def comparison_table(comparisons: tuple[Comparison, ...], confidence: float, metric: Metric) -> SummaryTable:
    """Every comparison, with the reason where there is no claim."""
    columns = ("Budget", "Arm", "Against", "Measure", "Target", "Pairs", "Cut off", "Estimate")
    evidence = (f"{percentage(confidence)} interval", "p", "p (Holm)", "P(beats primary)", "Claim", "Reason")
    rows = []
    for c in comparisons:
        if isinstance(c.measure, Metric) or c.target is None:
            measured = (f"test {metric.name}", NONE, str(c.n_pairs), NONE)
        else:
            measured = (_NAMES[c.measure], metric.goal(c.target), str(c.n_pairs), str(c.n_cut))
        interval, p_holm, probability = _evidence(c)
        p = NONE if c.p is None else p_value(c.p)
        head = (count(c.budget), c.arm, c.primary, *measured, c.estimate_text)
        rows.append((*head, interval, p, p_holm, probability, c.claim, c.reason or NONE))
    return SummaryTable("All comparisons", columns + evidence, tuple(rows))


def smallest_budget_table(smallest: tuple[SmallestBudget, ...], metric: Metric) -> SummaryTable:
    """The fewest parameters with which each arm's mean in the test reaches each target."""
    columns = ("Target", "Arm", "Parameters", f"Mean test {metric.name}", "Parameters / primary's", "Note")
    rows = []
    for s in smallest:
        share = NONE if s.ratio is None else ratio(s.ratio)
        parameters = count(s.at.parameters if s.at else None)
        rows.append((metric.goal(s.target), s.arm, parameters, metric.shown(s.mean), share, s.reason or NONE))
    return SummaryTable(f"Smallest network that is {metric.enough}", columns, tuple(rows))


def _evidence(c: Comparison) -> tuple[str, str, str]:
    """Interval, corrected p and share of pairs won."""
    return c.interval_text, c.p_text, NONE if c.probability is None else f"{c.probability:.2f}"


def median_text(s: SpeedSummary) -> str:
    """A median with its interval, "–" for what is not known."""
    if s.median is None:
        return NONE
    low, high = (NONE if end is None else _amount(end, s.measure) for end in s.interval)
    return f"{_amount(s.median, s.measure)} ({low} to {high})"


def _amount(value: float, measure: Measure) -> str:
    if measure == "flops":
        return f"{value:.3g}"
    return f"{value:,.0f}" if measure == "steps" else f"{value:,.2f}"
