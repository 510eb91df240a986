"""When the trials reached a target: Kaplan–Meier curves with marks where trials were censored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.report.axes import spent_axis
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.drawing import Drawing
from lit_adaptconv.report.style import rounded
from lit_adaptconv.verdict.observations import Observations
from lit_adaptconv.verdict.statistics import Array, Mask
from lit_adaptconv.verdict.summaries import Measure

MOST_STEPS = 150
"""Steps of a curve that are drawn; of more, this many, evenly spread over the trials."""


@dataclass(frozen=True)
class ReachCurve:
    """Share of the trials that have reached a target, estimated with censored trials.

    Attributes:
        times: Where the share changes or trials are censored, ascending, from 0.
        share: Share from that time on.
        censored: Trials whose training ended at that time without it.
    """

    times: Array
    share: Array
    censored: Array


def reach_curve(times: Array, reached: Mask) -> ReachCurve | None:
    """One minus the Kaplan–Meier estimate of the share that has not yet reached the target.

    Args:
        times: When each trial reached it, or until when it was followed; NaN where nothing is known. Shape `(n,)`.
        reached: Whether it reached it, same shape.

    Returns:
        The curve; None without a trial. Kaplan and Meier, JASA 53 (1958).
    """
    known = np.isfinite(times)
    times, reached = times[known], reached[known]
    if not len(times):
        return None
    if not reached.any():
        at, still = np.unique(times), np.ones(len(np.unique(times)))
    else:
        sample = stats.CensoredData(uncensored=times[reached], right=times[~reached])
        survival = stats.ecdf(sample).sf
        at, still = survival.quantiles, survival.probabilities
    censored = np.array([float((times[~reached] == t).sum()) for t in at])
    first = np.zeros(1)
    return ReachCurve(*(np.concatenate([first, values]) for values in (at, 1 - still, censored)))


def survival_figure(
    content: SweepContent, observations: Observations, budget: Limits | None, target: float, measure: Measure
) -> Drawing | None:
    """Share of the trials that have reached a target over what was spent, one line per arm.

    Args:
        content: The sweep.
        observations: Its trials.
        budget: The budget.
        target: The target.
        measure: What is counted.

    Returns:
        None where nothing is known of any trial.
    """
    at = observations.budgets.index(budget)
    observed, reached = observations.observed(target, measure)[:, at], observations.reached(target)[:, at]
    title = f"Trials that have reached {content.metric.goal(target)}, {budget_name(budget)}"
    shares = [*range(0, 101, 25)]
    y = {
        "title": {"text": "Share of trials (Kaplan–Meier)"},
        "range": [-3, 106],
        "tickvals": shares,
        "ticktext": [f"{share} %" for share in shares],
    }
    made = Drawing(title, spent_axis(measure), y)
    made.rule(y=50)
    end = np.nanmax(observed, initial=0.0)
    for a, arm in enumerate(observations.arms):
        curve = reach_curve(observed[a], reached[a])
        if curve is None:
            continue
        style, n = content.arms[arm], int((observations.rows[a, at] >= 0).sum())
        shown = _thinned(curve)
        held = [end] if curve.share[-1] > 1 - 1e-9 else []  # where all have reached it, nothing changes any more
        made.data.append(
            style.trace(
                x=rounded([*curve.times[shown], *held]),
                y=rounded(100 * np.append(curve.share[shown], curve.share[-1:][: len(held)]), 4),
                customdata=[[int(reached[a].sum()), n]] * (len(shown) + len(held)),
                mode="lines",
                line={**style.line(), "shape": "hv"},
                hovertemplate="%{fullData.name}<br><b>%{y:.0f} %</b> by %{x}<br>"
                "%{customdata[0]} of %{customdata[1]} trials reached it"
                "<extra></extra>",
            )
        )
        marked = np.flatnonzero(curve.censored)
        marked = marked[np.unique(np.linspace(0, len(marked) - 1, min(len(marked), MOST_STEPS)).astype(int))]
        if len(marked):
            made.data.append(
                style.trace(
                    x=rounded(curve.times[marked]),
                    y=rounded(100 * curve.share[marked], 4),
                    customdata=curve.censored[marked].astype(int).tolist(),
                    mode="markers",
                    marker={"color": style.colour, "symbol": "line-ns-open", "size": 11, "line": {"width": 2}},
                    hovertemplate="%{fullData.name}<br>training ended at %{x} without it: %{customdata} trials"
                    "<extra></extra>",
                    showlegend=False,
                )
            )
    return made if made.data else None


def _thinned(curve: ReachCurve) -> list[int]:
    """Indices of the steps to draw: first, last, and between them at even distances in the share."""
    changes = np.flatnonzero(np.append(True, np.diff(curve.share) > 0))
    chosen = changes[np.unique(np.linspace(0, len(changes) - 1, min(len(changes), MOST_STEPS)).round().astype(int))]
    return sorted({*chosen.tolist(), len(curve.times) - 1})
