import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.weightstats import DescrStatsW

from lit_adaptconv.verdict.statistics import kaplan_meier_median, spread, student_interval

# Weeks in remission of acute leukaemia, 6-mercaptopurine against placebo: Freireich et al., Blood 21 (1963).
MERCAPTOPURINE = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_medians_of_the_leukaemia_trial_are_those_of_the_textbooks() -> None:
    times = np.array([MERCAPTOPURINE, PLACEBO], float)
    median, low, high = kaplan_meier_median(times, np.array([RELAPSED, [1] * 21], bool))
    assert median.tolist() == [23, 8]
    assert (low[1], high[1]) == (4, 12)
    assert np.isnan(high[0])  # too few relapsed on the drug for an upper end


def test_kaplan_meier_by_hand() -> None:
    # S: 1 -> 3/4 at 2; 4 censored; -> 3/8 at 6; 8 censored. The third never comes down to a half. The fourth is a half
    # from 2 to 5, and the last from 2 on: as far as it was followed.
    times = np.array([[6, 2, 8, 4], [1, 2, 3, np.nan], [5, 5, 5, 1], [1, 2, 5, 9], [1, 2, 5, 9]], float)
    reached = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)
    median, low, high = kaplan_meier_median(times, reached)
    assert median[[0, 1, 3, 4]].tolist() == [6, 2, 3.5, 2]
    assert np.isnan(median[2])
    assert np.isnan([low, high]).all()  # too few for an interval


@pytest.mark.parametrize("n", [1, 2, 6, 7, 10, 20])
def test_of_complete_times_the_median_and_its_interval_are_the_usual_ones(n: int) -> None:
    times = np.random.default_rng(n).permutation(100)[None, :n].astype(float)
    median, low, high = kaplan_meier_median(times, np.ones((1, n), bool))
    assert median[0] == np.median(times)
    ordered = np.sort(times[0])
    ranks = [k for k in range(n // 2) if stats.binom.cdf(k, n, 0.5) <= 0.025]
    if ranks:
        assert (low[0], high[0]) == (ordered[ranks[-1]], ordered[n - 1 - ranks[-1]])
        expected = stats.quantile_test(times[0], p=0.5).confidence_interval(0.95)
        assert (low[0], high[0]) == (expected.low, expected.high)
    else:
        assert np.isnan([low[0], high[0]]).all()


@pytest.mark.parametrize("n", [2, 5, 10, 40])
def test_the_median_is_that_of_statsmodels_with_ties_and_censoring(n: int) -> None:
    random = np.random.default_rng(n)
    times = random.integers(1, 15, (60, n)).astype(float)
    reached = random.random((60, n)) < 0.7
    found, _, _ = kaplan_meier_median(times, reached)
    for time, event, median in zip(times, reached, found, strict=True):
        curve = SurvfuncRight(time, event.astype(int))
        below = np.flatnonzero(curve.surv_prob < 0.5 - 1e-9)
        half = np.flatnonzero(np.abs(curve.surv_prob - 0.5) < 1e-9)
        events = [t for t in curve.surv_times if event[time == t].any()]
        first = min((curve.surv_times[k] for k in (*half, *below)), default=np.nan)
        next_ = min((curve.surv_times[k] for k in below), default=np.nan)
        expected = (first + next_) / 2 if len(half) and np.isfinite(next_) else first
        np.testing.assert_equal(median, expected)
        assert np.isnan(expected) or first in events


@pytest.mark.parametrize("cut", [0.0, 0.3])
@pytest.mark.parametrize("n", [6, 10, 19])
def test_the_interval_of_the_median_covers_it_and_has_an_upper_end_where_all_arrive(n: int, cut: float) -> None:
    random = np.random.default_rng(n)
    times = np.exp(random.normal(6, 0.5, (3_000, n)))
    end = np.exp(6 + 0.5 * stats.norm.ppf(1 - cut)) if cut else np.inf
    _, low, high = kaplan_meier_median(np.minimum(times, end), times <= end)
    assert np.isfinite(low).all()
    if not cut:
        assert np.isfinite(high).all()
    assert np.mean((low <= np.exp(6)) & ~(high < np.exp(6))) >= 0.945


def test_an_unreached_target_has_no_median_and_no_observation_none_either() -> None:
    for values in (np.array([[3.0, 3.0]]), np.array([[np.nan, np.nan]])):
        assert np.isnan(kaplan_meier_median(values, np.zeros((1, 2), bool))[0]).all()


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_the_interval_of_a_mean_is_students(seed: int, n: int) -> None:
    values = np.random.default_rng(seed).normal(0.97, 0.01, (2, n))
    values[1, 0] = np.nan
    low, high = student_interval(values, 0.9)
    assert (low[0], high[0]) == pytest.approx(DescrStatsW(values[0]).tconfint_mean(0.1))
    if n > 2:
        assert (low[1], high[1]) == pytest.approx(DescrStatsW(values[1, 1:]).tconfint_mean(0.1))


@pytest.mark.parametrize("values", [[1.0], [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3], [np.nan] * 5])
def test_without_different_values_there_is_no_interval_of_a_mean(values: list[float]) -> None:
    assert np.isnan(student_interval(np.array([values]))).all()


def test_spread_is_the_standard_deviation_and_zero_for_rounding() -> None:
    values = np.array([[1.0, 2, 4, np.nan], [0.3, 0.1 + 0.2, 0.3, 0.3], [5, np.nan, np.nan, np.nan], [np.nan] * 4])
    np.testing.assert_allclose(spread(values), [np.std([1, 2, 4], ddof=1), 0, 0, 0])
