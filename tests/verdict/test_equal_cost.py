"""Networks of different budgets that cost the same, against a search through all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lit_adaptconv.verdict.equal_cost import AGREE, Cost, EqualCost, equal_cost
from lit_adaptconv.verdict.metric import ACCURACY
from lit_adaptconv.verdict.observations import observe

MEASURES = ("steps", "epochs", "flops", "seconds")
Networks = dict[tuple[str, int], tuple[int, str]]


def results(networks: Networks, seeds: int = 3, lacking: frozenset[str] = frozenset()) -> pa.Table:
    """A sweep with one network an arm and budget: its FLOPs and its widths."""
    random, rows = np.random.default_rng(1), []
    for (arm, budget), (flops, widths) in networks.items():
        for seed in range(seeds):
            row = {"arm": arm, "budget": budget, "pair": seed, "status": "failed" if arm in lacking else "done"}
            row |= {"parameters": budget - 1, "flops": flops or None, "widths": widths or None}
            row |= {"test_metric": float(random.normal(0.9, 0.01)), "val_metric": 0.9, "steps": 10, "epochs": 1.0}
            row |= {"training_flops": 30, "training_seconds": 1.0} | {f"{m}_to_0.9": None for m in MEASURES}
            rows.append(row)
    return pa.Table.from_pylist(rows)


def equal(networks: Networks, cost: Cost, **how: Any) -> EqualCost:
    observations = observe(results(networks, **how), [0.9], next(iter(networks))[0])
    return equal_cost(observations, observations.cells(), cost, 0.95)


@given(
    primary=st.lists(st.integers(1000, 2000), min_size=1, max_size=4),
    other=st.lists(st.integers(1000, 2000), min_size=1, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_pairs_are_the_nearest_that_agree_and_who_has_none_is_named(primary: list[int], other: list[int]) -> None:
    networks: Networks = {("standard", 100 * (i + 1)): (flops, "4-4") for i, flops in enumerate(primary)}
    networks |= {("other", 100 * (i + 1)): (flops, "4-4") for i, flops in enumerate(other)}
    found = equal(networks, "flops")
    expected = {}
    for i, flops in enumerate(other):
        near = min(max(flops, p) / min(flops, p) for p in primary)
        if near <= 1 + AGREE:
            expected[100 * (i + 1)] = near
    assert [pair.at.budget for pair in found.pairs] == sorted(expected)
    for pair in found.pairs:
        costs = sorted((pair.at.flops or 0, pair.primary.flops or 0))
        assert costs[1] / costs[0] == pytest.approx(expected[pair.at.budget or 0])
    assert [missing.arm for missing in found.missing] == ([] if expected else ["other"])


def test_the_difference_and_its_interval_are_those_of_the_two_samples() -> None:
    networks: Networks = {("standard", 100): (1000, "4-4"), ("other", 200): (1040, "8-8")}
    (pair,) = equal(networks, "flops", seeds=7).pairs
    random = np.random.default_rng(1)
    first, second = random.normal(0.9, 0.01, 7), random.normal(0.9, 0.01, 7)
    assert pair.estimate == pytest.approx(second.mean() - first.mean())
    assert pair.bounds is not None
    for end in pair.bounds:  # at an end of the interval, the permutation test is just at its level
        assert end is not None
        p = stats.permutation_test(
            (second - end, first), lambda x, y: x.mean() - y.mean(), permutation_type="independent", n_resamples=9999
        ).pvalue
        assert p == pytest.approx(0.05, abs=0.01)


def test_widths_are_compared_where_there_are_as_many_layers() -> None:
    networks: Networks = {("standard", 100): (1, "8-16"), ("same", 900): (5, "16-8"), ("deep", 100): (1, "8-16-12")}
    found = equal(networks, "width")
    assert [pair.at.arm for pair in found.pairs] == ["same"]
    assert found.missing == ()


@pytest.mark.parametrize("cost", ["flops", "width"])
def test_what_is_not_known_or_not_finished_is_no_network(cost: Cost) -> None:
    networks: Networks = {("standard", 100): (1000, "4-4"), ("unknown", 100): (0, ""), ("failed", 100): (1000, "4-4")}
    found = equal(networks, cost, lacking=frozenset({"failed"}))
    assert (found.pairs, found.missing) == ((), ())
    assert found.notes[0].startswith("No other network is known to have the ")


def test_one_trial_has_a_difference_and_no_interval() -> None:
    (pair,) = equal({("standard", 100): (1000, "4-4"), ("other", 100): (1000, "4-4")}, "flops", seeds=1).pairs
    assert pair.bounds is None


def test_the_budget_that_is_told_gives_the_cost_where_cost_is_a_power_of_size() -> None:
    networks: Networks = {("standard", 5000): (64_000, "4-4")}
    networks |= {("other", budget): (round(0.2 * (budget - 1) ** 1.5), "9-9") for budget in (400, 1000, 2000)}
    (missing,) = equal(networks, "flops").missing
    assert missing.budget == pytest.approx((64_000 / 0.2) ** (1 / 1.5), rel=0.05)
    (_, plan) = equal(networks, "flops").notes
    assert f"other {missing.budget:,} (as standard at 5,000)" in plan


def test_the_table_has_the_arm_s_number_and_the_primary_s() -> None:
    found = equal({("standard", 100): (1000, "4-4"), ("other", 200): (1040, "8-8")}, "flops")
    (row,) = found.table(ACCURACY, 0.95).rows
    assert row[3:] == ("1,040 · 1,000", "199 · 99", "200 · 100", "3 · 3")
    assert "exploratory" in found.title
