"""What a page leaves out of a large sweep, in words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lit_adaptconv.report.content import MOST_BUDGETS, SweepContent
from lit_adaptconv.report.curves import MOST_POINTS
from lit_adaptconv.report.pareto import MOST_DOTS
from lit_adaptconv.report.survival import MOST_STEPS

MOST_EVALUATIONS = 10_000
"""Rows of the learning curves that travel with the page."""


def page_curves(content: SweepContent) -> pa.Table:
    """The learning curves that travel with the page: all, or evenly spread evaluations of every trial."""
    every = thinned_to_every(content)
    if every == 1:
        return content.curves
    trials = content.curves["trial"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.argsort(trials, kind="stable")
    starts = np.searchsorted(trials[order], np.arange(int(trials.max()) + 1))
    place = np.empty(len(trials), np.int64)
    place[order] = np.arange(len(trials)) - np.repeat(starts, np.diff([*starts, len(trials)]))
    last = np.zeros(len(trials), np.bool_)
    last[order[[*(starts[1:] - 1), len(trials) - 1]]] = True
    return content.curves.filter(pa.array(((place + 1) % every == 0) | last))


def thinned_to_every(content: SweepContent) -> int:
    """Every how many evaluations of a trial travel with the page."""
    return max(1, -(-int(content.curves.num_rows) // MOST_EVALUATIONS))


def thinning(content: SweepContent) -> tuple[str, ...]:
    """Sentences on what is left out; none for a sweep of ordinary size."""
    said = []
    done = content.statuses.get("done", 0)
    if done > MOST_DOTS:
        said.append(f"Test {content.metric.name} shows means and intervals, not the {done:,} trials one by one.")
    steps = len(content.curves["step"].unique())
    if steps > MOST_POINTS:
        said.append(f"Learning curves are drawn at up to {MOST_POINTS} evaluations, evenly spread.")
    if len(content.budgets) > MOST_BUDGETS:
        said.append(
            f"Of {len(content.budgets):,} budgets {MOST_BUDGETS}, evenly spread, are in curves, shares and ratios."
        )
    if content.results.num_rows > MOST_STEPS:
        said.append(f"Shares of trials are drawn in up to {MOST_STEPS} steps.")
    every = thinned_to_every(content)
    if every > 1:
        said.append(
            f"The page's CSV of the curves has every {every}{_ordinal(every)} evaluation of each trial, and its last; "
            "that beside the page has all."
        )
    return tuple(said)


def _ordinal(n: int) -> str:
    if n % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
