"""A verdict as tables of text."""

from __future__ import annotations

from lit_adaptconv.measure.budget import Limits, limits_text
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count, p_value, percentage, ratio
from lit_adaptconv.verdict.sentences import between, further_text
from lit_adaptconv.verdict.summaries import (
    MEASURES,
    Cell,
    Comparison,
    Measure,
    MetricSummary,
    SmallestBudget,
    SpeedSummary,
    SummaryTable,
    interval_headings,
)

_NAMES: dict[Measure, str] = {"steps": "steps", "epochs": "epochs", "flops": "FLOPs", "seconds": "seconds"}
_CELL = ("Arm", "Budget", "Parameters", "Of budget", "FLOPs", "Trials", "Unfinished")


def verdict_table(
    comparisons: tuple[Comparison, ...], main_target: float, confidence: float, metric: Metric
) -> SummaryTable:
    """Steps to the main target and the metric in the test; an arm over its budgets together, and at each, a row."""
    columns = ["Budget", "Arm", "Seeds"]
    images = any(c.bounds_images is not None for c in comparisons)
    steps, test = f"Steps to {metric.goal(main_target)}", f"Test {metric.name},{metric.unit or ' difference'}"
    for name in (steps, test):
        columns += [name, *interval_headings(confidence, images and name == test), "p", "P(beats primary)", "Answer"]
    rows: dict[tuple[str, bool, Limits | None], dict[bool, Comparison]] = {}
    for c in comparisons:
        if c.measure == metric or (c.measure == "steps" and c.target == main_target):
            rows.setdefault((c.arm, c.over > 1, c.budget), {})[c.measure == metric] = c
    shown = []
    for (arm, _, budget), found in rows.items():
        cells = []
        for final in (False, True):
            one = found.get(final)
            wide = final and images
            if one is None:
                cells += [NONE] * (6 if wide else 5)
            else:
                interval, *evidence = _evidence(one)
                both = [one.images_text] if wide else []
                cells += [one.estimate_text, interval, *both, *evidence, one.answer_text]
        over, n = (max(getattr(c, name) for c in found.values()) for name in ("over", "n"))
        shown.append((_where(over, budget), arm, str(n), *cells))
    title = f"Against {comparisons[0].primary}" if shown else "Nothing to compare: one arm"
    return SummaryTable(title, tuple(columns), tuple(shown))


def answer_tables(
    comparisons: tuple[Comparison, ...], main_target: float, confidence: float, metric: Metric
) -> tuple[SummaryTable, ...]:
    """The answers in short, on the metric and on steps to the main target, first what the plan asks.

    An arm has one row, over all its budgets together; or a row for each budget, where there is nothing over all.
    """
    made = []
    of_metric, of_steps = _asked(comparisons, main_target, metric)
    for name, heading, found in (
        (f"test {metric.name}", _difference(metric), of_metric),
        (f"steps to {metric.goal(main_target)}", "Ratio of steps", of_steps),
    ):
        together = {c.arm for c in found if c.over > 1}
        shown = [c for c in found if c.over > 1 or c.arm not in together]
        rows = [
            (c.arm, _where(c.over, c.budget), c.estimate_text, c.interval_text, c.p_text, c.answer_text) for c in shown
        ]
        if rows:
            columns = ("Arm", "Budget", heading, f"{percentage(confidence)} interval", "p", "Answer")
            title = f"Against {shown[0].primary}: {name}"
            made.append((all(c.exploratory for c in shown), SummaryTable(title, columns, tuple(rows))))
    return tuple(table for _, table in sorted(made, key=lambda one: one[0]))


def summary_table(
    finished: tuple[MetricSummary, ...], comparisons: tuple[Comparison, ...], main_target: float, metric: Metric
) -> SummaryTable:
    """What each network costs, how good it is, and the answers against the primary arm, an arm and budget a row."""
    primary = comparisons[0].primary if comparisons else ""
    asked = all(c.exploratory for c in comparisons if c.measure == "steps")
    steps = f"Steps to {metric.goal(main_target)}{' (exploratory)' if asked else ''}"
    answers = (_difference(metric), "Answer", steps, "Answer") if comparisons else ()
    columns = ("Arm", "Budget", _measured(f"Test {metric.name}", metric), *answers, "Parameters", "FLOPs", "Trials")
    each = [{(c.arm, c.budget): c for c in of if c.over == 1} for of in _asked(comparisons, main_target, metric)]
    rows = []
    for a in finished:
        value = metric.bare(a.mean) + ("" if a.sd is None else f" ± {metric.gap(a.sd)}")
        told: list[str] = []
        for found in each if comparisons else ():
            c = found.get((a.at.arm, a.at.budget))
            blank = "primary arm" if a.at.arm == primary else NONE
            told += [NONE, blank] if c is None else [c.estimate_text, c.answer]
        size = (count(a.at.parameters), count(a.at.flops), count(a.at.n))
        rows.append((a.at.arm, limits_text(a.at.budget), value, *told, *size))
    return SummaryTable("Summary", columns, tuple(rows))


def size_table(finished: tuple[MetricSummary, ...], confidence: float, metric: Metric) -> SummaryTable:
    """The metric in the test in short, an arm and budget a row, for a screen."""
    unfinished = any(a.at.n_unfinished for a in finished)
    columns = ("Arm", "Budget", "Parameters", "FLOPs", "Trials", *["Unfinished"] * unfinished)
    rows = []
    for a in finished:
        size = (limits_text(a.at.budget), count(a.at.parameters), count(a.at.flops), count(a.at.n))
        interval = " to ".join(map(metric.bare, a.interval)) if a.interval else NONE
        values = (metric.bare(a.mean), NONE if a.sd is None else metric.gap(a.sd), interval)
        rows.append((a.at.arm, *size, *[count(a.at.n_unfinished)] * unfinished, *values))
    columns = (*columns, _measured("Mean", metric), "SD", f"{percentage(confidence)} interval")
    return SummaryTable(f"Test {metric.name}", columns, tuple(rows))


def _asked(
    comparisons: tuple[Comparison, ...], main_target: float, metric: Metric
) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons of the metric in the test, and those of steps to the main target."""
    of_steps = [c for c in comparisons if c.measure == "steps" and c.target == main_target]
    return [c for c in comparisons if c.measure == metric], of_steps


def _measured(heading: str, metric: Metric) -> str:
    return f"{heading}, %" if metric.percent else heading


def _difference(metric: Metric) -> str:
    return f"Difference{metric.unit and f', {metric.unit.strip()}'}"


def _where(over: int, budget: Limits | None) -> str:
    return "together" if over > 1 else limits_text(budget)


def metric_table(finished: tuple[MetricSummary, ...], confidence: float, metric: Metric) -> SummaryTable:
    """The metric in the test, one row per arm and budget."""
    images = any(a.interval_images is not None for a in finished)
    columns = (*_CELL, _measured("Mean", metric), "SD", *interval_headings(confidence, images))
    rows = []
    for a in finished:
        intervals = [a.interval, a.interval_images] if images else [a.interval]
        texts = (" to ".join(map(metric.bare, each)) if each else NONE for each in intervals)
        rows.append((*a.at.texts, metric.bare(a.mean), NONE if a.sd is None else metric.gap(a.sd), *texts))
    return SummaryTable(f"Test {metric.name}", columns, tuple(rows))


def convergence_table(convergence: tuple[SpeedSummary, ...], confidence: float, metric: Metric) -> SummaryTable:
    """Share that reached each target, and Kaplan–Meier medians; an arm, budget and target a row."""
    medians = (f"Median {_NAMES[m]} ({percentage(confidence)})" for m in MEASURES)
    columns = (*_CELL, "Target", "Reached", "Reached once", *medians)
    by_row: dict[tuple[Cell, float], dict[Measure, SpeedSummary]] = {}
    for s in convergence:
        by_row.setdefault((s.at, s.target), {})[s.measure] = s
    rows = []
    for (at, target), each in by_row.items():
        shares = (f"{n}/{at.n}" for n in (each["steps"].n_reached, each["steps"].n_once))
        rows.append((*at.texts, metric.goal(target), *shares, *(median_text(each[m]) for m in MEASURES)))
    return SummaryTable("Convergence", columns, tuple(rows))


def comparison_table(comparisons: tuple[Comparison, ...], confidence: float, metric: Metric) -> SummaryTable:
    """Every comparison, with the reason where it is undecided."""
    columns = ("Budget", "Arm", "Against", "Measure", "Target", "Seeds", "Cut off", "Method", "Estimate")
    images = any(c.bounds_images is not None for c in comparisons)
    evidence = (*interval_headings(confidence, images), "p", "p (family)", "p (equivalent)", "P(beats primary)")
    rows = []
    for c in comparisons:
        if isinstance(c.measure, Metric) or c.target is None:
            measured = (f"test {metric.name}", NONE, c.n_text, NONE)
        else:
            measured = (_NAMES[c.measure], metric.goal(c.target), c.n_text, str(c.n_cut))
        interval, adjusted, probability = _evidence(c)
        p, equal = (NONE if x is None else p_value(x) for x in (c.p, c.p_equivalent))
        reason = f"{c.reason}{further_text(c)}" or NONE
        head = (_where(c.over, c.budget), c.arm, c.primary, *measured, c.method_text, c.estimate_text)
        intervals = (interval, c.images_text) if images else (interval,)
        rows.append((*head, *intervals, p, adjusted, equal, probability, c.answer_text, reason))
    return SummaryTable("All comparisons", (*columns, *evidence, "Answer", "Reason"), tuple(rows))


def smallest_budget_table(smallest: tuple[SmallestBudget, ...], metric: Metric, confidence: float) -> SummaryTable:
    """The fewest parameters with which each arm reaches each target, and the network that was chosen."""
    interval = f"{percentage(confidence)} interval"
    sizes = ("Parameters needed", interval, "÷ primary's", interval)
    columns = ("Target", "Arm", *sizes, "Network chosen", f"Its test {metric.name}", "Note")
    rows = []
    for s in smallest:
        needed = NONE if s.parameters is None else count(round(s.parameters))
        share = NONE if s.ratio is None else f"× {ratio(s.ratio)}"
        ends = (between(s.interval, lambda end: count(round(end))), between(s.ratio_interval, ratio))
        chosen = count(s.at.parameters if s.at else None)
        known = (ends[0] if s.parameters is not None else NONE, ends[1] if s.ratio is not None else NONE)
        cells = (needed, known[0], share, known[1], chosen, metric.shown(s.mean), s.reason or NONE)
        rows.append((metric.goal(s.target), s.arm, *cells))
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
