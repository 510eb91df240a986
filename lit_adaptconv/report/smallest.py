"""The smallest network of each arm that is good enough, for every target."""

from __future__ import annotations

from lit_adaptconv.report.axes import size_axis
from lit_adaptconv.report.content import SweepContent
from lit_adaptconv.report.drawing import GRID, Drawing
from lit_adaptconv.report.style import plain
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import ratio
from lit_adaptconv.verdict.sentences import between
from lit_adaptconv.verdict.summaries import SmallestBudget

NOT_REACHED = "not reached"


def smallest_figure(content: SweepContent) -> Drawing | None:
    """Fewest parameters with which the mean in validation reaches each target, with its interval, a marker an arm.

    An arm that gets there at no budget stands in a column of its own.

    Args:
        content: The sweep.

    Returns:
        None while no trial is done.
    """
    verdict, metric = content.verdict, content.metric
    sizes = [float(a.at.parameters) for a in verdict.finished if a.at.parameters] if verdict else []
    if verdict is None or not sizes:
        return None
    x = size_axis("Trainable parameters (log scale)", min(sizes), max(sizes))
    low, high = x["range"]
    place = high + 0.12 * (high - low)
    column = 10**place
    x["range"] = [low, high + 0.24 * (high - low)]
    targets = verdict.targets
    y = {
        "title": {"text": f"Target in validation, {plain(metric.name)}"},
        "tickvals": list(range(len(targets))),
        "ticktext": [metric.goal(t) for t in targets],
        "range": [-0.5, len(targets) - 0.5],
        "showgrid": False,
    }
    styles = list(content.arms.values())
    height = min(1400, max(280, 160 + 24 * len(targets) * len(styles)))
    made = Drawing(f"Smallest network that is {metric.enough}", {**x, "showgrid": True, "gridcolor": GRID}, y, height)
    made.rule(x=10 ** (high + 0.01 * (high - low)))
    made.note(NOT_REACHED, x=place, xref="x", y=1, yref="paper", yanchor="bottom", size=11)
    for k, style in enumerate(styles):
        mine = [s for s in verdict.smallest_budgets if s.arm == style.name]
        shift = 0.6 * (0.5 - (k + 0.5) / len(styles))
        made.data.append(
            style.trace(
                x=[s.parameters or (s.at.parameters if s.at else None) or column for s in mine],
                y=[targets.index(s.target) + shift for s in mine],
                error_x=_interval(mine, style.colour),
                mode="markers",
                marker=style.marks([s.at is not None for s in mine]),
                text=[_hover(s, metric) for s in mine],
                hovertemplate="%{fullData.name}<br>%{text}<extra></extra>",
            )
        )
    return made


def _interval(mine: list[SmallestBudget], colour: str) -> dict[str, object]:
    """Error bars; none where an end is not known."""
    above = [(s.interval.high or s.parameters) - s.parameters if s.parameters else 0.0 for s in mine]
    below = [s.parameters - (s.interval.low or s.parameters) if s.parameters else 0.0 for s in mine]
    lines = {"width": 0, "thickness": 2, "color": colour}
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, **lines}


def _hover(s: SmallestBudget, metric: Metric) -> str:
    if s.at is None:
        return "<b>at no budget that was tried</b>"
    needed = "" if s.parameters is None else f"{s.parameters:,.0f} parameters needed"
    if s.parameters is not None and (s.interval.low or s.interval.high):
        needed += f", interval {between(s.interval, lambda end: f'{end:,.0f}')}"
    times = "" if s.ratio is None else f"<br>× {ratio(s.ratio)} the primary arm's"
    chosen = f"{s.at.parameters:,} parameters chosen, mean test {plain(metric.name)} {metric.shown(s.mean)}"
    return "<br>".join(line for line in (f"<b>{needed}</b>" if needed else "", f"{chosen}{times}") if line)
