"""What the best of so many tried sets of values is, against every choice of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.verdict.expected_best import best_of_tried, expected_best
from lit_adaptconv.verdict.metric import ACCURACY, Metric

LOSS = Metric("val/loss", "min", "test/loss")


def tried(sets: Sequence[Sequence[float | str]]) -> pa.Table:
    """Rows of sets of values, each with the values in validation, or the fates, of its seeds."""
    rows = [
        (number, end if isinstance(end, str) else "done", 0.99 if isinstance(end, str) else end)  # good until it failed
        for number, ends in enumerate(sets)
        for end in ends
    ]
    names = ("number", "status", "val_metric")
    return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_it_is_the_mean_over_every_choice(scores: list[float]) -> None:
    for k, value in enumerate(expected_best(np.array(scores)), start=1):
        assert value == pytest.approx(np.mean([max(chosen) for chosen in combinations(scores, k)]), abs=1e-9)


@given(
    st.lists(st.lists(st.floats(0, 0.9), min_size=2, max_size=2), min_size=1, max_size=5),
    st.sampled_from([ACCURACY, LOSS]),
)
def test_seeds_are_averaged_and_what_failed_counts_as_the_worst(sets: list[list[float]], metric: Metric) -> None:
    means = [float(np.mean(ends)) for ends in sets]
    worst, best = (min(means), max(means)) if metric.mode == "max" else (max(means), min(means))
    for fate in ("failed", "diverged"):
        found = best_of_tried(tried([*sets, [sets[0][0], fate]]), metric)
        assert found is not None
        assert found[0] == pytest.approx(np.mean([*means, worst]))
        assert found[-1] == pytest.approx(best)
        assert len(found) == len(sets) + 1


def test_where_nothing_ended_well_nothing_is_said() -> None:
    assert best_of_tried(tried([["failed"], ["diverged"]]), ACCURACY) is None
    assert best_of_tried(tried([]), ACCURACY) is None
