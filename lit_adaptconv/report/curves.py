"""Learning curves: the median over the seeds and a band of quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.report.axes import SPENT, metric_axis, room, spent_axis
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.drawing import BACKED, Drawing
from lit_adaptconv.report.style import label_ends, rounded, spread_apart
from lit_adaptconv.verdict.budget_columns import rows_at
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.statistics import Array
from lit_adaptconv.verdict.summaries import MEASURES, Measure

_LABEL_HEIGHT = 0.045  # of a figure's height
MOST_POINTS = 120
"""Evaluations of a curve that are drawn; of more, this many, evenly spread."""


@dataclass(frozen=True)
class MedianCurve:
    """An arm's learning curve at a budget, over its trials, a value an evaluation.

    Attributes:
        spent: Median of what had been spent, by measure.
        low: First quartile of the metric in validation, as figures show it.
        median: Its median.
        high: Its third quartile.
        n: Trials that were evaluated there.
    """

    spent: dict[Measure, Array]
    low: Array
    median: Array
    high: Array
    n: Array


def median_curve(curves: pa.Table, metric: Metric) -> MedianCurve | None:
    """Median and quartiles (linear interpolation) of the metric in validation over trials, evaluation by evaluation.

    A trial that stopped early is in the evaluations that it has. Seconds differ from trial to trial: an evaluation
    stands at their median.

    Args:
        curves: The evaluations of one arm at one budget, with the columns of `curves.parquet`.
        metric: What the networks are judged by.

    Returns:
        At most 120 evaluations; None where there is no finite value.
    """
    values = metric.scale * _numbers(curves, "val_metric")
    known = np.isfinite(values)
    if not known.any():
        return None
    steps, place = np.unique(_numbers(curves, "step")[known], return_inverse=True)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).round().astype(int))
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(steps) + 1))
    groups = [order[starts[i] : starts[i + 1]] for i in chosen]
    spent = {m: _numbers(curves, SPENT[m])[known] for m in MEASURES}
    quartiles = np.array([np.percentile(values[known][rows], [25, 50, 75]) for rows in groups])
    return MedianCurve(
        spent={m: np.array([np.median(amounts[rows]) for rows in groups]) for m, amounts in spent.items()},
        low=quartiles[:, 0],
        median=quartiles[:, 1],
        high=quartiles[:, 2],
        n=np.array([float(len(rows)) for rows in groups]),
    )


def median_curves(content: SweepContent, budget: Limits | None) -> dict[str, MedianCurve]:
    """The curve of each arm at a budget."""
    there = rows_at(content.curves, budget)
    found = {arm: median_curve(there.filter(pc.equal(there["arm"], arm)), content.metric) for arm in content.arms}
    return {arm: curve for arm, curve in found.items() if curve is not None}


def curves_figure(
    content: SweepContent, budget: Limits | None, measure: Measure, medians: dict[str, MedianCurve]
) -> Drawing | None:
    """The metric in validation over what was spent, a line and a band an arm; None where there is no evaluation.

    Args:
        content: The sweep.
        budget: The budget.
        measure: What is counted.
        medians: What `median_curves` gives.
    """
    lines = {arm: curve for arm, curve in medians.items() if np.isfinite(curve.spent[measure]).all()}
    if not lines:
        return None
    title = f"Learning curves, {budget_name(budget)}"
    metric = content.metric
    made = Drawing(title, spent_axis(measure), metric_axis(f"Validation {metric.name}", metric))
    form, unit = (".2f", " %") if metric.percent else (".4g", "")
    for arm, curve in lines.items():
        style, x = content.arms[arm], curve.spent[measure]
        made.data.append(
            style.trace(
                x=rounded(np.concatenate([x, x[::-1]]), 5),
                y=rounded(np.concatenate([curve.high, curve.low[::-1]]), 4),
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=style.shade,
                hoverinfo="skip",
                showlegend=False,
            )
        )
    for arm, curve in lines.items():
        style = content.arms[arm]
        made.data.append(
            style.trace(
                x=rounded(curve.spent[measure], 5),
                y=rounded(curve.median, 4),
                customdata=[rounded(each, 6) for each in np.stack([curve.low, curve.high, curve.n], 1)],
                mode="lines",
                line=style.line(),
                hovertemplate="%{fullData.name}<br>"
                f"<b>%{{y:{form}}}{unit}</b> (quartiles %{{customdata[0]:{form}}} to %{{customdata[1]:{form}}}{unit})"
                "<br>at %{x}, n = %{customdata[2]}<extra></extra>",
            )
        )
    low, high = _reach(list(lines.values()), [metric.scale * t for t in content.sweep.targets], metric)
    pad = room(low, high, 0.05, 1.0, metric)
    _targets(made, content, _LABEL_HEIGHT * (high - low + 2 * pad))
    label_ends(made, [(content.arms[arm], float(c.median[-1])) for arm, c in lines.items()], low - pad, high + pad)
    return made


def _reach(curves: Sequence[MedianCurve], targets: Sequence[float], metric: Metric) -> tuple[float, float]:
    """Ends of the axis: the best quartile and every target are seen, the worst evaluations, the first ones, are not."""
    if metric.mode == "max":
        return min(np.percentile(c.low, 5) for c in curves), max([*(c.high.max() for c in curves), *targets])
    return min([*(c.low.min() for c in curves), *targets]), max(np.percentile(c.high, 95) for c in curves)


def _targets(made: Drawing, content: SweepContent, gap: float) -> None:
    targets, metric = content.sweep.targets, content.metric
    for target, place in zip(targets, spread_apart([metric.scale * t for t in targets], gap), strict=True):
        made.rule(y=metric.scale * target, name=f"target {target:g}")
        made.note(
            f"target {metric.goal(target)}", x=0.015, y=place, xanchor="left", yanchor="middle", size=11, **BACKED
        )


def _numbers(table: pa.Table, name: str) -> Array:
    return np.asarray(pc.cast(table[name], pa.float64(), safe=False).to_numpy(), dtype=np.float64)
