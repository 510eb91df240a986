"""The metric in the test against the size of the network, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lit_adaptconv.measure.budget import limits_text
from lit_adaptconv.measure.latency import RUNTIMES, shown
from lit_adaptconv.report.axes import metric_axis, room, size_axis
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.drawing import INK, Drawing
from lit_adaptconv.report.style import label_ends, plain, rounded
from lit_adaptconv.verdict.budget_columns import budgets_of
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import percentage
from lit_adaptconv.verdict.observations import LATENCIES
from lit_adaptconv.verdict.summaries import NEW_SEEDS, NEW_SEEDS_AND_IMAGES, Cell, MetricSummary

Size = Literal["parameters", "flops", "width", "onnx_latency", "torch_latency"]
SIZE_TITLES: dict[Size, str] = {
    "parameters": "Trainable parameters",
    "flops": "FLOPs of one image",
    "width": "Mean width of the layers, channels",
    "onnx_latency": "One image in onnxruntime, ms",
    "torch_latency": "One image in PyTorch, ms",
}
SIZE_WORDS: dict[Size, str] = {
    "parameters": "parameters",
    "flops": "FLOPs of one image",
    "width": "width",
    "onnx_latency": "latency in onnxruntime",
    "torch_latency": "latency in PyTorch",
}
"""What figures and the page's selector call them."""
MOST_DOTS = 600
"""Trials that are shown one by one; of more, the means are enough."""


def pareto_front(sizes: Sequence[float], values: Sequence[float]) -> list[int]:
    """Find the points that no other beats: none is as small and better, or smaller and as good.

    Args:
        sizes: Less is better.
        values: More is better.

    Returns:
        Their indices, sizes ascending; of equal points the first.
    """
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i], -values[i]))
    front: list[int] = []
    for i in order:
        if not front or values[i] > values[front[-1]]:
            front.append(i)
    return front


def pareto_figure(content: SweepContent, size: Size = "parameters") -> Drawing | None:
    """Mean of the metric in the test with its interval over the size, one line per arm; None while no trial is done.

    None too where the size is not known. Widths of networks with different numbers of layers are not compared.

    Args:
        content: The sweep.
        size: What the size is.
    """
    verdict, metric = content.verdict, content.metric
    known = [a for a in verdict.finished if a.mean is not None and getattr(a.at, size)] if verdict else []
    layers = {len(a.at.widths) for a in known} if size == "width" else {0}
    if verdict is None or not known or len(layers) > 1:
        return None
    sizes = [_size(a.at, size) for a in known]
    means = [metric.scale * (a.mean or 0.0) for a in known]
    title = f"Test {plain(metric.name)} by {SIZE_WORDS[size]}"
    x = size_axis(SIZE_TITLES[size], min(sizes), max(sizes))
    made = Drawing(title, x, metric_axis(f"Test {metric.name}", metric))
    dots = _dots(content, size, known)
    for style in content.arms.values():
        if style.name in dots:
            xs, ys = dots[style.name]
            marker = {"color": style.colour, "size": 5, "opacity": 0.35, "symbol": style.symbol}
            made.data.append(
                style.trace(x=xs, y=rounded(ys), mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
            )
    ends = []
    for style in content.arms.values():
        mine = sorted((i for i, a in enumerate(known) if a.at.arm == style.name), key=lambda i: sizes[i])
        if not mine:
            continue
        line = [known[i] for i in mine]
        made.data.append(
            style.trace(
                x=[sizes[i] for i in mine],
                y=rounded([means[i] for i in mine]),
                error_y=_errors(line, metric.scale),
                mode="lines+markers",
                line=style.line(2),
                marker={"color": style.colour, "size": 9, "symbol": style.symbol},
                text=[_hover(a, verdict.confidence, metric) for a in line],
                hovertemplate="%{fullData.name}<br>%{text}<extra></extra>",
            )
        )
        ends.append((style, means[mine[-1]]))
    front = pareto_front(sizes, [metric.sign * mean for mean in means])
    made.data.append(
        {
            "type": "scatter",
            "x": [sizes[i] for i in front],
            "y": rounded([means[i] for i in front]),
            "name": "Pareto front",
            "mode": "lines+markers",
            "line": {"color": INK, "width": 1, "dash": "dot", "shape": "hv"},
            "marker": {"color": "rgba(0,0,0,0)", "size": 17, "line": {"color": INK, "width": 1.2}},
            "hoverinfo": "skip",
        }
    )
    low, high = _reach(known, [y for _, ys in dots.values() for y in ys], metric)
    label_ends(made, ends, low, high)
    return made


def _size(cell: Cell, size: Size) -> float:
    """A size that is known, latencies in milliseconds."""
    return float(getattr(cell, size)) * (1000 if size in LATENCIES else 1)


def _dots(
    content: SweepContent, size: Size, known: Sequence[MetricSummary]
) -> dict[str, tuple[list[float], list[float]]]:
    columns = ["arm", "parameters", "flops", "status", "test_metric"]
    every = zip(content.results.select(columns).to_pylist(), budgets_of(content.results), strict=True)
    rows = [(r, b) for r, b in every if r["status"] == "done" and np.isfinite(r["test_metric"] or np.nan)]
    cells = {(a.at.arm, a.at.budget): _size(a.at, size) for a in known}
    dots: dict[str, tuple[list[float], list[float]]] = {}
    for row, budget in rows if len(rows) <= MOST_DOTS else ():
        where = row[size] if size in ("parameters", "flops") else cells.get((row["arm"], budget))
        if where:
            xs, ys = dots.setdefault(row["arm"], ([], []))
            xs.append(where)
            ys.append(content.metric.scale * row["test_metric"])
    return dots


def _errors(line: Sequence[MetricSummary], scale: float) -> dict[str, object]:
    means = [a.mean or 0.0 for a in line]
    high = [scale * (a.interval.high - m) if a.interval else 0.0 for a, m in zip(line, means, strict=True)]
    low = [scale * (m - a.interval.low) if a.interval else 0.0 for a, m in zip(line, means, strict=True)]
    return {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "width": 3, "thickness": 1.4}


def _hover(a: MetricSummary, confidence: float, metric: Metric) -> str:
    spread = "" if a.sd is None else f" ± {metric.gap(a.sd)} (SD)"
    covers = ((a.interval, NEW_SEEDS), (a.interval_images, NEW_SEEDS_AND_IMAGES))
    ends = [f"{metric.bare(each.low)} to {metric.shown(each.high)} {what}" for each, what in covers if each is not None]
    interval = f"<br>{percentage(confidence)} interval {',<br>'.join(ends)}" if ends else ""
    unfinished = f", {a.at.n_unfinished} more unfinished" if a.at.n_unfinished else ""
    sizes = [f"{size:,} {name}" for size, name in ((a.at.parameters, "parameters"), (a.at.flops, "FLOPs")) if size]
    seconds = {name: getattr(a.at, f"{runtime}_latency") for runtime, name in RUNTIMES.items()}
    sizes += [f"{shown(each)} in {name}" for name, each in seconds.items() if each]
    budget = f" (budget {limits_text(a.at.budget)})" if a.at.budget is not None else f" ({budget_name(None)})"
    widths = f"<br>widths {'-'.join(map(str, a.at.widths))}" if 0 < len(a.at.widths) <= 12 else ""
    size = f"{', '.join(sizes)}{budget}{widths}"
    return f"<b>{metric.shown(a.mean)}</b>{spread}{interval}<br>n = {a.n}{unfinished}<br>{size}"


def _reach(known: Sequence[MetricSummary], dots: Sequence[float], metric: Metric) -> tuple[float, float]:
    ends = [metric.scale * end for a in known for end in (a.interval or (a.mean or 0.0,))]
    low, high = min([*ends, *dots]), max([*ends, *dots])
    pad = room(low, high, 0.08, 0.5, metric)
    return low - pad, high + pad
