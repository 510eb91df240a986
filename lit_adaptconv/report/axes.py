"""Titles and ticks of the axes, with their units."""

from __future__ import annotations

import math
from typing import Any

from lit_adaptconv.report.style import plain
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.summaries import Measure

MEASURE_NAMES: dict[Measure, str] = {"steps": "Steps", "epochs": "Epochs", "flops": "FLOPs", "seconds": "Seconds"}
MEASURE_TITLES: dict[Measure, str] = {
    "steps": "Optimizer steps",
    "epochs": "Epochs",
    "flops": "Training FLOPs",
    "seconds": "Training time, seconds (evaluation not counted)",
}
SPENT: dict[Measure, str] = {"steps": "step", "epochs": "epoch", "flops": "flops", "seconds": "seconds"}
"""Column of the curves that holds what had been spent, in each measure."""


def spent_axis(measure: Measure) -> dict[str, Any]:
    """The axis of what was spent in training, from zero."""
    form = {"tickformat": "~s"} if measure == "flops" else {"tickformat": ",~r"} if measure == "steps" else {}
    return {"title": {"text": MEASURE_TITLES[measure]}, "rangemode": "tozero", "nticks": 7, **form}


def metric_axis(title: str, metric: Metric) -> dict[str, Any]:
    """An axis of values of the metric."""
    return {"title": {"text": plain(title, 60)}, **({"ticksuffix": " %"} if metric.percent else {})}


def room(low: float, high: float, share: float, least: float, metric: Metric) -> float:
    """Room at the ends of an axis of the metric: a share of what is shown, or of `least` percent."""
    return share * max(high - low, least if metric.percent else 0.01 * least * abs(high) or least)


def size_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis of sizes with room at both ends, ticks at 1, 2 and 5 where they are few."""
    margin = 0.06 * max(math.log10(high / low), 0.5)
    ends = [math.log10(low) - margin, math.log10(high) + margin]
    mantissas = (1, 1.5, 2, 3, 5, 7) if high < 6 * low else (1, 2, 5)
    ticks = [m * 10.0**e for e in range(math.floor(ends[0]), math.ceil(ends[1]) + 1) for m in mantissas]
    inside = [t for t in ticks if ends[0] <= math.log10(t) <= ends[1]]
    if len(inside) > 8:
        inside = [t for t in inside if f"{t:e}"[0] == "1"]
    settings = {"tickvals": inside, "ticktext": [short(t) for t in inside]} if len(inside) > 1 else {"nticks": 5}
    return {"title": {"text": title}, "type": "log", "range": ends, **settings}


def ratio_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis of ratios, as far below 1 as above it."""
    reach = max(1.15 * abs(math.log10(low)), 1.15 * abs(math.log10(high)), math.log10(1.6))
    values: tuple[float, ...] = (1 / 100, 1 / 50, 1 / 20, 1 / 10, 1 / 5, 1 / 2, 1, 2, 5, 10, 20, 50, 100)
    if reach < math.log10(3):
        values = (0.35, 0.5, 0.7, 1, 1.4, 2, 2.8)
    inside = [v for v in values if abs(math.log10(v)) <= reach]
    text = [f"× {v:.2f}".rstrip("0").rstrip(".") for v in inside]
    return {"title": {"text": title}, "type": "log", "range": [-reach, reach], "tickvals": inside, "ticktext": text}


def short(value: float) -> str:
    """A large number in few characters: 500, 20,000, 1.5M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
