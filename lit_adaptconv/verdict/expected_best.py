"""What tuning is worth: how good the best of so many tried sets of values is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.statistics import Array


def expected_best(scores: Array) -> Array:
    """Mean of the largest of k scores, over all choices of k of them, for k from 1 to their number.

    The estimate without bias of Tang et al., *Showing Your Work Doesn't Always Work* (2020, arXiv 2004.13705).

    Args:
        scores: Shape (n,).

    Returns:
        Shape (n,); the first is the mean, the last the maximum.
    """
    n, downwards = len(scores), np.sort(scores)[::-1]
    places = np.arange(n - 1.0)
    best = []
    for k in range(1, n + 1):
        # The largest is among k of n in k / n of the choices, the next in k / (n - 1) of those without it, and so on.
        left = np.maximum(n - k - places, 0) / (n - 1 - places)
        best.append(float(downwards @ (k / n * np.cumprod([1.0, *left]))))
    return np.array(best)


def best_of_tried(tried: pa.Table, metric: Metric) -> Array | None:
    """The best mean in validation that an arm is to be expected to have found with so many sets of values, from one on.

    A set of which a trial failed or diverged counts as the worst of the others.

    Args:
        tried: The arm's rows of `tuning.parquet` at one budget.
        metric: What the networks are judged by.

    Returns:
        A value for each number of sets; None where no set has ended well.
    """
    sets: dict[int, list[float | None]] = {}
    for row in tried.select(["number", "status", "val_metric"]).to_pylist():
        sets.setdefault(row["number"], []).append(row["val_metric"] if row["status"] == "done" else None)
    means = metric.sign * np.array([np.mean(np.array(values, dtype=float)) for values in sets.values()])
    known = means[np.isfinite(means)]
    if not len(known):
        return None
    return metric.sign * expected_best(np.where(np.isfinite(means), means, known.min()))
