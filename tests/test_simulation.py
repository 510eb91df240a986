"""The simulation by which the tests were chosen, in short: few wrong claims, and the power that the page promises."""

from __future__ import annotations

import math

import pytest

from benchmarks.simulation import Case, nulls, simulate

SWEEPS = 400
MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / SWEEPS)


@pytest.mark.parametrize(
    "case",
    [
        Case("accuracy", "one bad seed in ten", 7, 3),
        Case("accuracy", "heavy-tailed", 5, 1),
        Case("steps", "skewed", 7, 3, coarse=True),
        Case("steps", "normal", 5, 3, cut=0.6),
        Case("steps", "normal", 7, 1, cut=0.3),
    ],
    ids=lambda case: f"{case.name}-{case.n}-{case.budgets}",
)
def test_without_an_effect_claims_are_rare(case: Case) -> None:
    assert simulate(case, SWEEPS).any_claim <= MOST


@pytest.mark.parametrize(
    ("measure", "single", "n"),
    [pytest.param("accuracy", 0.64, 7, marks=pytest.mark.slow), ("steps", 0.5, 7), ("steps", 0.77, 10)],
)
def test_with_an_effect_it_is_found_as_often_as_by_the_best_of_the_others(measure: str, single: float, n: int) -> None:
    found = simulate(Case(measure, "normal", n, 3, effect=True), SWEEPS)
    assert found.together >= 0.96
    assert found.verdict >= single - 3 * math.sqrt(0.25 / SWEEPS / 2)
    assert found.verdict >= max(found.before, found.welch_t, found.paired_t, found.permutation) - 0.02
    assert 0.92 <= found.coverage <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("case", [*nulls()], ids=lambda case: f"{case.name}-{case.n}-{case.budgets}")
def test_in_no_world_without_an_effect_are_wrong_claims_frequent(case: Case) -> None:
    assert simulate(case, 500).any_claim <= 0.055 + 3 * math.sqrt(0.05 * 0.95 / 500)
