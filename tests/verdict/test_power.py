"""What a number of seeds finds, against statsmodels; intervals against the best, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower, TTestPower

from lit_adaptconv.verdict.power import against_best, detectable_effect, power, seeds_to_find


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(
    ("effect", "sd", "n", "alpha"), [(0.5, 0.33, 7, 0.05), (0.16, 0.12, 10, 0.05 / 3), (0.1, 1, 5, 0.05)]
)
def test_power_is_statsmodels(paired: bool, effect: float, sd: float, n: int, alpha: float) -> None:
    theirs = (TTestPower() if paired else TTestIndPower()).power(effect / sd, n, alpha)
    assert power(effect, sd, n, alpha, paired) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("effect", "sd", "alpha"), [(0.2, 0.33, 0.05), (0.1, 0.5, 0.01), (2.0, 0.33, 0.05)])
def test_the_fewest_seeds_are_statsmodels_rounded_up(paired: bool, effect: float, sd: float, alpha: float) -> None:
    solver = TTestPower() if paired else TTestIndPower()
    if effect < 1:
        theirs = solver.solve_power(effect / sd, None, alpha, 0.8)
        assert seeds_to_find(effect, sd, alpha, paired) == math.ceil(float(theirs))
    n = seeds_to_find(effect, sd, alpha, paired)
    assert n is not None
    assert power(effect, sd, n, alpha, paired) >= 0.8 > power(effect, sd, n - 1, alpha, paired)


@pytest.mark.parametrize("n", [2, 5, 10, 100])
def test_the_detectable_effect_has_just_the_wanted_power(n: int) -> None:
    assert power(detectable_effect(0.3, n), 0.3, n) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("n", [2, 4, 7, 10, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9, 0.001])
def test_power_rises_with_the_effect_and_is_always_a_share(n: int, alpha: float, paired: bool) -> None:
    found = [power(effect, 0.01, n, alpha, paired) for effect in np.linspace(0, 0.5, 400)]
    assert np.isfinite(found).all()
    assert (np.diff(found) >= -1e-5).all()
    assert found[0] == pytest.approx(alpha, abs=1e-6)
    assert max(found) <= 1 + 1e-12
    assert 0 < detectable_effect(0.01, n, alpha, paired) < math.inf


def test_degenerate_plans_have_an_answer() -> None:
    assert detectable_effect(0.3, 1) == math.inf
    assert detectable_effect(0.0, 5) == 0
    assert power(1.0, 0.3, 1) == 0
    assert power(1.0, 0.0, 5) == 1
    assert seeds_to_find(1e-6, 1.0) is None
    low, high = against_best(np.array([0.9]), np.array([0.1]), np.array([5]))
    assert (low.tolist(), high.tolist()) == ([0], [0])


def test_of_two_equal_networks_without_spread_both_are_the_best_and_others_lose_to_them() -> None:
    low, high = against_best(np.array([0.9, 0.9, 0.8]), np.zeros(3), np.full(3, 5))
    assert low == pytest.approx([0, 0, -0.1])
    assert high == pytest.approx([0, 0, 0])


def test_intervals_against_the_best_hold_all_true_differences_together() -> None:
    random = np.random.default_rng(0)
    true = np.array([0.990, 0.989, 0.980, 0.985])
    gaps = np.array([m - np.delete(true, i).max() for i, m in enumerate(true)])
    covered = best = 0
    for _ in range(1_000):
        x = random.normal(true[:, None], 0.002, (4, 8))
        low, high = against_best(x.mean(1), x.std(1, ddof=1), np.full(4, 8))
        covered += bool(((low <= gaps) & (gaps <= high) | (low == 0) & (gaps >= 0) | (high == 0) & (gaps <= 0)).all())
        best += bool(high[0] > 0)
        assert (high[2] == 0) or high[2] < 0.004
    assert covered >= 940
    assert best >= 990  # the best is not ruled out
