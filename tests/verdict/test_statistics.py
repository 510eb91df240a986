import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from lit_adaptconv.verdict.statistics import (
    RESAMPLES,
    holm,
    kaplan_meier_median,
    log_ratios,
    mean_interval,
    sign_flip_test,
    smallest_p,
    spread,
)

# Weeks in remission of acute leukaemia, 6-mercaptopurine against placebo: Freireich et al., Blood 21 (1963).
MERCAPTOPURINE = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_medians_of_the_leukaemia_trial_are_those_of_the_textbooks() -> None:
    times = np.array([MERCAPTOPURINE, PLACEBO], float)
    median, low, high = kaplan_meier_median(times, np.array([RELAPSED, [1] * 21], bool))
    assert median.tolist() == [23, 8]
    assert low.tolist() == [13, 4]
    assert np.isnan(high[0])  # too few relapsed on the drug for an upper end
    assert high[1] == 11


def test_kaplan_meier_by_hand() -> None:
    # S: 1 -> 3/4 at 2; 4 censored; -> 3/8 at 6; 8 censored. The third sample never comes down to a half.
    times = np.array([[6, 2, 8, 4], [1, 2, 3, np.nan], [5, 5, 5, 1]], float)
    reached = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]], bool)
    median, _, _ = kaplan_meier_median(times, reached)
    assert median[:2].tolist() == [6, 2]
    assert np.isnan(median[2])


def scipy_median(times: np.ndarray, reached: np.ndarray) -> list[float]:
    sample = stats.CensoredData.right_censored(times, ~reached)
    sf = stats.ecdf(sample).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined where the curve is 0 or 1
        interval = sf.confidence_interval(0.95, method="log-log")
    low = np.where(np.isnan(interval.low.probabilities), sf.probabilities, interval.low.probabilities)
    high = np.where(np.isnan(interval.high.probabilities), 1.0, interval.high.probabilities)
    ends = []
    for curve in (sf.probabilities, low, high):
        below = np.flatnonzero(curve <= 0.5 + 1e-12)
        ends.append(float(sf.quantiles[below[0]]) if len(below) else np.nan)
    return ends


@pytest.mark.parametrize("n", [1, 2, 5, 10, 40])
def test_median_and_interval_are_scipys_with_ties_and_censoring(n: int) -> None:
    rng = np.random.default_rng(n)
    times = rng.integers(1, 15, (60, n)).astype(float)
    reached = rng.random((60, n)) < 0.7
    found = np.stack(kaplan_meier_median(times, reached), 1)
    expected = np.array([scipy_median(t, r) for t, r in zip(times, reached, strict=True)])
    np.testing.assert_array_equal(found, expected)


def test_an_unreached_target_has_no_median_and_no_observation_none_either() -> None:
    for values in (np.array([[3.0, 3.0]]), np.array([[np.nan, np.nan]])):
        assert np.isnan(kaplan_meier_median(values, np.zeros((1, 2), bool))).all()


def test_uncensored_log_ratios_are_those_of_the_times() -> None:
    ratios, cut = log_ratios(*(np.array([x], float) for x in ([10, 40], [100, 100], [20, 20], [30, 100])))
    np.testing.assert_allclose(np.exp(ratios), [[0.5, 2]])
    assert not cut.any()


def test_with_a_censored_pair_all_are_cut_off_where_the_shorter_trial_ended() -> None:
    inf, nan = np.inf, np.nan
    times = np.array([[10, 10, inf, 90, inf, nan, inf]])
    ends = np.array([[100, 100, 100, 100, inf, nan, inf]])
    other = np.array([[20, inf, inf, 70, inf, 10, 25]])
    other_ends = np.array([[80, 80, 80, 80, inf, 80, 80]])
    ratios, cut = log_ratios(times, ends, other, other_ends)
    #        both  other never  neither  cut at 80  both diverged  missing  diverged
    expected = [0.5, 10 / 80, 1, 80 / 70, 1, nan, 80 / 25]
    np.testing.assert_allclose(np.exp(ratios[0]), expected)
    assert cut[0].tolist() == [False, True, True, True, True, False, True]


@given(st.integers(0, 10_000))
def test_swapping_the_arms_changes_only_the_sign(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = rng.integers(5, 30, (2, 4, 8)).astype(float)
    times = rng.integers(1, 30, (2, 4, 8)).astype(float)
    times = np.where(times <= ends, times, np.inf)
    ratios, cut = log_ratios(times[0], ends[0], times[1], ends[1])
    swapped, swapped_cut = log_ratios(times[1], ends[1], times[0], ends[0])
    np.testing.assert_allclose(swapped, -ratios)
    np.testing.assert_array_equal(cut, swapped_cut)
    finite = np.isfinite(times).all(0)
    uncut = np.log(times[0][finite] / times[1][finite])
    assert (np.abs(ratios[finite]) <= np.abs(uncut) + 1e-12).all()
    np.testing.assert_array_equal(cut[finite], np.abs(ratios[finite] - uncut) > 1e-12)


def test_sign_flip_p_by_hand() -> None:
    # Of the eight sums of ±1 ±2 ±3, those as far from zero as 4 are 6, 4, -4 and -6.
    assert sign_flip_test(np.array([[-1.0, 2, 3]])).tolist() == [4 / 8]


@pytest.mark.parametrize("n", [2, 6, 10, 13])
def test_sign_flip_p_is_scipys_exact_one(n: int) -> None:
    rng = np.random.default_rng(n)
    differences = rng.integers(-4, 8, (3, n)) / 10  # ties and zeros among them
    found = sign_flip_test(differences)
    for row, p in zip(differences, found, strict=True):
        exact = stats.permutation_test(
            (row,),
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        )
        assert p == pytest.approx(exact.pvalue)


def test_sign_flip_p_of_many_pairs_is_near_the_exact_one() -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, (4, 15))
    exact = [
        stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True).pvalue
        for d in differences
    ]
    np.testing.assert_allclose(sign_flip_test(differences), exact, atol=4 * 0.5 / np.sqrt(RESAMPLES))


def test_missing_pairs_are_left_out_and_no_pair_has_no_p() -> None:
    p = sign_flip_test(np.array([[np.nan, -1, 2, 3], [np.nan] * 4, [0, 0, 0, 0]]))
    assert p[0] == sign_flip_test(np.array([[-1.0, 2, 3]]))[0]
    assert np.isnan(p[1])
    assert p[2] == 1


@pytest.mark.parametrize("n", [1, 5, 6, 13, 14, 40])
def test_the_smallest_p_is_that_of_pairs_that_all_agree(n: int) -> None:
    assert sign_flip_test(np.ones((1, n)))[0] == pytest.approx(smallest_p(n), abs=2.5 / RESAMPLES if n > 13 else 0)
    assert (smallest_p(n) <= 0.05) == (n >= 6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("budgets", [1, 3, 5])
def test_under_no_effect_any_of_the_corrected_ps_is_below_5_percent_at_most_5_times_of_100(budgets: int) -> None:
    p = sign_flip_test(np.random.default_rng(2).laplace(size=(10_000 * budgets, 10))).reshape(-1, budgets)
    assert np.mean([min(holm(family)) <= 0.05 for family in p.tolist()]) <= 0.05


@pytest.mark.parametrize("n", [8, 30, 200])
def test_the_interval_is_scipys_bca_at_the_expanded_level(n: int) -> None:
    values = np.random.default_rng(n).gamma(2, 1, n)
    low, high = mean_interval(values[None])
    level = 2 * special.ndtr(np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)) - 1
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", confidence_level=level, n_resamples=200_000, batch=20_000, rng=1
    ).confidence_interval
    # The ends are percentiles of 9,999 resamples: allow four of their standard errors.
    se = (
        4
        * np.sqrt((1 - level) / 2 / RESAMPLES)
        / stats.norm.pdf(stats.norm.ppf((1 - level) / 2))
        * values.std()
        / n**0.5
    )
    assert low[0] == pytest.approx(expected.low, abs=se)
    assert high[0] == pytest.approx(expected.high, abs=1.5 * se)  # the longer tail


@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_the_interval_covers_a_known_effect_93_to_97_times_of_100(n: int, shape: str) -> None:
    rng = np.random.default_rng(n)
    if shape == "normal":
        effect = np.log(0.7)
        logs = effect + rng.normal(0, 0.3, (2_000, n))
    else:  # the ratio of two gamma times
        effect = special.digamma(2) - special.digamma(8)
        logs = np.log(rng.gamma(2, 1, (2_000, n)) / rng.gamma(8, 1, (2_000, n)))
    low, high = mean_interval(logs)
    assert 0.93 <= np.mean((low <= effect) & (effect <= high)) <= 0.97


def test_the_interval_keeps_its_place_among_samples_of_other_sizes() -> None:
    values = np.random.default_rng(0).normal(0.97, 0.01, (3, 9))
    values[1, 4:6] = np.nan
    low, high = mean_interval(values)
    alone = mean_interval(np.delete(values[1], [4, 5])[None])
    assert (low[1], high[1]) == (alone[0][0], alone[1][0])
    shifted = mean_interval(100 * values + 7)
    np.testing.assert_allclose(shifted, [100 * low + 7, 100 * high + 7], rtol=1e-5)


@pytest.mark.parametrize("values", [[1.0], [1.0, 2, 3, 4], [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3], [np.nan] * 5])
def test_without_enough_different_values_there_is_no_interval(values: list[float]) -> None:
    assert np.isnan(mean_interval(np.array([values]))).all()


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999999])
def test_the_interval_stays_inside_the_values_however_skewed(confidence: float) -> None:
    values = np.array([[0, 0, 0, 0, 1e6], [1e6, 0, 0, 0, 0], [-1, 1, -1, 1, 1], [1, 1, 1, 1, 2]], float)
    low, high = mean_interval(values, confidence)
    assert (low < high).all()
    assert (low >= values.min(1) - 0.1).all()
    assert (high <= values.max(1) + 0.1).all()


def test_spread_is_the_standard_deviation_and_zero_for_rounding() -> None:
    values = np.array([[1.0, 2, 4, np.nan], [0.3, 0.1 + 0.2, 0.3, 0.3], [5, np.nan, np.nan, np.nan], [np.nan] * 4])
    np.testing.assert_allclose(spread(values), [np.std([1, 2, 4], ddof=1), 0, 0, 0])
