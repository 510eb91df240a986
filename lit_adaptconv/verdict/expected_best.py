"""What tuning is worth: how good the best of so many tried sets of values is."""

from __future__ import annotations

from math import comb

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
    ordered, n = np.sort(scores), len(scores)
    # The score at place i, from 0, is the largest in C(i, k - 1) of the C(n, k) choices.
    shares = [[comb(i, k - 1) / comb(n, k) for i in range(n)] for k in range(1, n + 1)]
    return np.asarray(np.array(shares) @ ordered, dtype=np.float64)


def best_of_tried(tried: pa.Table, metric: Metric) -> Array | None:
    """The best mean in validation that an arm is to be expected to have found with so many sets of values, from one on.

    A set of which a trial failed or diverged counts as the worst of the others.

    Args:
        tried: The arm's rows of `tuning.parquet` at one budget.
        metric: What the networks are judged by.

    Returns:
        A value for each number of sets; None where no set has ended well.
    """
    sets: dict[int, list[float]] = {}
    for row in tried.select(["number", "status", "val_metric"]).to_pylist():
        value = row["val_metric"] if row["status"] == "done" else None
        sets.setdefault(row["number"], []).append(np.nan if value is None else value)
    means = metric.sign * np.array([np.mean(values) for values in sets.values()])
    known = means[np.isfinite(means)]
    if not len(known):
        return None
    return metric.sign * expected_best(np.where(np.isfinite(means), means, known.min()))
