"""The smallest network of each arm that is good enough, for every target."""

from __future__ import annotations

import math

from lit_adaptconv.report.axes import size_axis
from lit_adaptconv.report.content import SweepContent
from lit_adaptconv.report.drawing import GRID, Drawing
from lit_adaptconv.report.style import plain
from lit_adaptconv.verdict.numbers import ratio

NOT_REACHED = "not reached"


def smallest_figure(content: SweepContent) -> Drawing | None:
    """Fewest parameters with which the mean in the test reaches each target, a marker an arm.

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
        "title": {"text": f"Target test {plain(metric.name)}"},
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
        found = [float(s.at.parameters) if s.at and s.at.parameters else math.nan for s in mine]
        reached = [not math.isnan(f) for f in found]
        text = []
        for s, there in zip(mine, reached, strict=True):
            times = "" if s.ratio is None else f"<br>× {ratio(s.ratio)} the primary arm's"
            size = f"<b>{s.at.parameters:,} parameters</b>" if there and s.at else "<b>at no budget that was tried</b>"
            mean = "" if s.mean is None else f"<br>mean test {plain(metric.name)} {metric.shown(s.mean)}"
            text.append(f"{size}{mean}{times}")
        made.data.append(
            style.trace(
                x=[f if there else column for f, there in zip(found, reached, strict=True)],
                y=[targets.index(s.target) + shift for s in mine],
                mode="markers",
                marker={
                    "color": style.colour,
                    "size": 11,
                    "symbol": [style.symbol if there else f"{style.symbol}-open" for there in reached],
                    "line": {"width": 2, "color": style.colour},
                },
                text=text,
                hovertemplate="%{fullData.name}<br>%{text}<extra></extra>",
            )
        )
    return made
