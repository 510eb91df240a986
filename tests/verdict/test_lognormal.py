"""The model of times that are known to lie between two evaluations, against SciPy and a plain maximisation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from lit_adaptconv.verdict.lognormal import Lognormal


def cut_off(seed: int, rows: int, n: int, ratio: float, grid: float, end: float) -> Lognormal:
    """Two samples of n lognormal times, looked at every `grid` steps until `end`, a multiple of it."""
    random = np.random.default_rng(seed)
    first = np.repeat(np.arange(2 * n)[None] < n, rows, 0)
    times = np.exp(6 + np.where(first, np.log(ratio), 0.0) + random.normal(0, 0.25, first.shape))
    seen = grid * np.ceil(times / grid)
    reached = seen <= end
    with np.errstate(divide="ignore"):
        return Lognormal(np.log(np.where(reached, seen - grid, end)), np.where(reached, np.log(seen), np.inf), first)


def likelihood(model: Lognormal, row: int, mean: float, effect: float, sd: float) -> float:
    means = mean + effect * model.first[row]
    inside = stats.norm.cdf(model.high[row], means, sd) - stats.norm.cdf(model.low[row], means, sd)
    return float(np.log(np.maximum(inside, 1e-300)).sum())


def best_mean(model: Lognormal, row: int) -> float:
    slope, _, other = model._fit[0][row]
    return float(other / slope)


def sd(model: Lognormal, row: int) -> float:
    return float(1 / model._fit[0][row, 0])


def best(model: Lognormal, row: int, effect: float | None = None) -> float:
    start = [6.0, 0.0, -1.0] if effect is None else [6.0, -1.0]

    def loss(at: np.ndarray) -> float:
        shift = at[1] if effect is None else effect
        return -likelihood(model, row, at[0], shift, np.exp(at[-1]))

    found = optimize.minimize(
        loss, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 5000}
    )
    return -float(found.fun)


@pytest.mark.parametrize("end", [360.0, 440.0, 880.0])
def test_the_ratio_and_its_p_are_those_of_a_plain_maximisation(end: float) -> None:
    model = cut_off(1, 4, 8, 1.2, 40.0, end)
    p = model.p(np.zeros(4))
    for row in range(4):
        highest = best(model, row)
        assert model._fit[1][row] == pytest.approx(highest, abs=1e-5)
        assert likelihood(model, row, best_mean(model, row), model.estimate[row], sd(model, row)) > highest - 1e-5
        ratio = 2 * (highest - best(model, row, 0.0))
        reached = int(np.isfinite(model.high[row]).sum())
        freedom = (16 + reached) / 2 - 2
        t = np.sqrt(freedom * np.expm1(ratio / (freedom + 2)))
        expected = 2 * stats.t.sf(t, freedom)
        assert p[row] == pytest.approx(expected, abs=0.002 if expected < 0.2 else 0.15)  # near the estimate less so


def test_one_sample_is_scipys_fit_of_interval_censored_data() -> None:
    model = cut_off(2, 1, 30, 1.0, 40.0, 440.0)
    data = stats.CensoredData.interval_censored(*([np.exp(x[0][model.first[0]]) for x in (model.low, model.high)]))
    spread, _, scale = stats.lognorm.fit(data, floc=0)
    alone = Lognormal(
        *(np.concatenate([x[:, :30], x[:, :30]], 1) for x in (model.low, model.high)), np.arange(60)[None] < 30
    )
    slope, *means = alone._fit[0][0]
    assert 1 / slope == pytest.approx(spread, rel=2e-3)
    assert means[0] / slope == pytest.approx(np.log(scale), rel=2e-4)
    assert alone.estimate[0] == pytest.approx(0, abs=1e-6)


def test_where_every_time_is_known_exactly_it_is_students_test() -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(0.2, 0.3, (5, 7)), random.normal(0, 0.3, (5, 7))
    low = np.concatenate([x, y], 1)
    model = Lognormal(low - 1e-4, low + 1e-4, np.repeat(np.arange(14)[None] < 7, 5, 0))
    expected = stats.ttest_ind(x, y, axis=1)
    np.testing.assert_allclose(model.p(np.zeros(5)), expected.pvalue, rtol=0.01)
    np.testing.assert_allclose(model.estimate, x.mean(1) - y.mean(1), atol=1e-4)
    interval = expected.confidence_interval(0.95)
    ends = model.ends(np.full(5, 0.025))
    np.testing.assert_allclose(ends[0], interval.low, atol=0.003)
    np.testing.assert_allclose(ends[1], interval.high, atol=0.003)


@pytest.mark.parametrize("end", [360.0, 480.0])
def test_the_estimate_is_not_drawn_towards_1_where_most_are_cut_off(end: float) -> None:
    model = cut_off(4, 200, 60, 1.25, 40.0, end)
    assert np.isfinite(model.high).mean() < 0.75
    assert np.exp(np.median(model.estimate)) == pytest.approx(1.25, abs=0.03)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("n", [5, 8, 15])
@pytest.mark.parametrize("end", [375.0, 450.0])
def test_its_interval_covers_a_known_ratio(n: int, end: float) -> None:
    model = cut_off(5, 700, n, 1.25, 25.0, end)
    reached = np.isfinite(model.high)
    used = ((reached & model.first).sum(1) > 0) & ((reached & ~model.first).sum(1) > 0) & (reached.sum(1) > 2)
    low, high = model.ends(np.full(700, 0.025))
    assert 0.93 <= np.mean((low <= np.log(1.25)) & (np.log(1.25) <= high), where=used) <= 1


def test_times_that_are_all_alike_have_a_ratio_all_the_same() -> None:
    low = np.log(np.array([[100.0] * 5 + [200.0] * 4 + [900.0]]))
    high = np.log(np.array([[120.0] * 5 + [240.0] * 4 + [np.inf]]))
    model = Lognormal(low, high, np.arange(10)[None] < 5)
    assert np.isfinite(model.estimate).all()
    assert np.isfinite(model.p(np.zeros(1))).all()
    assert model.p(np.zeros(1))[0] < 0.05
