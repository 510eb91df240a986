"""Every arm against the primary arm at every budget: ratio of convergence, difference of the metric, with intervals."""

from __future__ import annotations

from typing import Any

from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.report.axes import MEASURE_NAMES, ratio_axis
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.drawing import GRID, INK, Drawing
from lit_adaptconv.report.style import ArmStyle, plain
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.sentences import further_text
from lit_adaptconv.verdict.summaries import NEW_SEEDS, NEW_SEEDS_AND_IMAGES, Bounds, Comparison, Measure

ROW_PIXELS = 26
TOGETHER = "together"
"""Row of the comparisons over all budgets."""
MOST_IN_LEGEND = 7
"""Arms that a legend explains; the rows of more, or of a single budget, bear the arms' names."""


def ratio_figure(content: SweepContent, target: float, measure: Measure) -> Drawing | None:
    """Time to a target / the primary arm's, a point and an interval an arm and budget; None without a comparison.

    Where no trial of either arm reached the target there is no point: the ratio of two cut-off times says nothing.

    Args:
        content: The sweep.
        target: The target.
        measure: What the time is counted in.
    """
    found = [c for c in _comparisons(content) if (c.measure, c.target) == (measure, target)]
    found = [c for c in found if c.bounds is not None]
    if not found:
        return None
    ends = [v for c in found for v in (c.estimate, *(c.bounds or ())) if v is not None]
    primary = plain(content.sweep.primary_arm)
    name = MEASURE_NAMES[measure] if measure == "flops" else MEASURE_NAMES[measure].lower()
    x = ratio_axis(f"{MEASURE_NAMES[measure]} ÷ {primary}’s (log scale)", min(ends), max(ends))
    title = f"Ratio of {name} to {content.metric.goal(target)}"
    return _forest(content, found, x, title, 1.0, ("← needs less", "needs more →"))


def difference_figure(content: SweepContent) -> Drawing | None:
    """Difference of the metric in the test to the primary arm's, a point and an interval an arm and budget."""
    metric = content.metric
    found = [c for c in _comparisons(content) if c.measure == metric and c.estimate is not None]
    if not found:
        return None
    reach = max(
        (1.15 * abs(metric.scale * v) for c in found for v in (c.estimate, *(c.bounds or ())) if v), default=1.0
    )
    primary, name = plain(content.sweep.primary_arm), plain(metric.name)
    text = f"Percentage points above {primary}" if metric.percent else f"Test {name} minus {primary}’s"
    x = {"title": {"text": text}, "range": [-reach, reach], "nticks": 7}
    sides = [plain(words, 40) for words in (metric.worse, metric.better)][:: int(metric.sign)]
    return _forest(content, found, x, f"Difference in test {name}", 0.0, (f"← {sides[0]}", f"{sides[1]} →"))


def _comparisons(content: SweepContent) -> list[Comparison]:
    shown = set(content.shown_budgets)
    return [c for c in content.verdict.comparisons if c.over > 1 or c.budget in shown] if content.verdict else []


def _forest(
    content: SweepContent,
    found: list[Comparison],
    x: dict[str, Any],
    title: str,
    null: float,
    sides: tuple[str, str],
) -> Drawing:
    budgets: list[Limits | str | None] = [TOGETHER] if any(c.over > 1 for c in found) else []
    budgets += [b for b in content.shown_budgets if any(c.budget == b and c.over == 1 for c in found)]
    styles = [s for s in content.arms.values() if any(c.arm == s.name for c in found)]
    rows = len(budgets) * len(styles)
    shifts = {style.name: 0.7 * ((k + 0.5) / len(styles) - 0.5) for k, style in enumerate(styles)}
    plain_numbers = all(b is None or isinstance(b, (int, str)) for b in budgets)
    names = [b if isinstance(b, str) else f"{b:,}" if plain_numbers and b else budget_name(b) for b in budgets]
    alone = "Arm" if None in budgets else f"Arm, at {names[0]}{' parameters' if plain_numbers else ''}"
    by_name = len(budgets) == 1 or len(styles) > MOST_IN_LEGEND
    ticks: dict[float, str] = dict(enumerate(names))
    if by_name:
        before = [""] if len(budgets) == 1 else [f"{name} · " for name in names]
        ticks = {b + shifts[s.name]: head + plain(s.name, 32) for b, head in enumerate(before) for s in styles}
    y = {
        "title": {"text": alone if len(budgets) == 1 else f"Budget{', parameters' if plain_numbers else ''}"},
        "tickvals": list(ticks),
        "ticktext": list(ticks.values()),
        "automargin": True,
        "range": [len(budgets) - 0.5, -0.5],
        "showgrid": False,
    }
    height = min(1400, max(300, 170 + ROW_PIXELS * rows))
    made = Drawing(title, {**x, "showgrid": True, "gridcolor": GRID}, y, height)
    made.rule(x=null, color=INK, dash="solid")
    for text, place, anchor in ((sides[0], 0.0, "left"), (sides[1], 1.0, "right")):
        made.note(text, x=place, y=1.0, xanchor=anchor, yref="paper", yanchor="bottom", size=11)
    for style in styles:
        mine = [c for c in found if c.arm == style.name]
        made.data.append(_points(style, mine, [budgets.index(_row(c)) + shifts[style.name] for c in mine]))
    margin = made.layout["margin"]
    margin["t"] = 96
    made.layout["legend"]["y"] = 1 + 20 / (height - margin["t"] - margin["b"])  # pixels: between title and notes
    made.layout["showlegend"] = not by_name
    return made


def _points(style: ArmStyle, found: list[Comparison], heights: list[float]) -> dict[str, Any]:
    measure = found[0].measure
    scale = measure.scale if isinstance(measure, Metric) else 1.0
    ends = [_ends(c) for c in found]
    values = [scale * value for _, value, _ in ends]
    high = [scale * (end - value) for _, value, end in ends]
    low = [scale * (value - end) for end, value, _ in ends]
    errors = {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "width": 0, "thickness": 2}
    return style.trace(
        x=values,
        y=heights,
        error_x={**errors, "color": style.colour},
        mode="markers",
        marker=style.marks([c.answer != "undecided" for c in found]),
        text=[_hover(c) for c in found],
        hovertemplate="%{fullData.name}<br>%{text}<extra></extra>",
    )


def _row(c: Comparison) -> Limits | str | None:
    return TOGETHER if c.over > 1 else c.budget


def _ends(c: Comparison) -> tuple[float, float, float]:
    """Lower end, estimate and upper end; an end that is not known is beyond the figure, a bound its own estimate."""
    bounds = c.bounds or Bounds(c.estimate, c.estimate)
    known = [v for v in (c.estimate, *bounds) if v is not None]
    value = known[0] if known else 0.0
    far = 1.0 if isinstance(c.measure, Metric) else 1e3
    low = bounds.low if bounds.low is not None else (value - far if far == 1.0 else value / far)
    high = bounds.high if bounds.high is not None else (value + far if far == 1.0 else value * far)
    return low, value, high


def _hover(c: Comparison) -> str:
    unit = c.measure.unit if isinstance(c.measure, Metric) else ""
    interval = f", interval {c.interval_text} {NEW_SEEDS}" if c.bounds else ", no interval"
    interval = "" if c.estimate is None else interval
    if c.bounds_images is not None:
        interval += f",<br>{c.images_text} {NEW_SEEDS_AND_IMAGES}"
    p = "" if c.p_adjusted is None else f", p = {c.p_text}"
    cut = f", {c.n_cut:,} did not reach the target" if c.n_cut else ""
    reason = plain(f"{c.reason}{further_text(c)}", 240)
    why = f"<br>{reason}" if reason else ""
    n = f"n = {c.n_text}{f' at {c.over} budgets' if c.over > 1 else ''}"
    cost = "" if c.step_cost is None else f"<br>cost of a step: {c.step_cost}"
    return f"<b>{c.estimate_text}{unit}</b>{interval}<br>{n}{cut}{p}{cost}<br><b>{c.answer_text}</b>{why}"
