"""Each p, interval and test of equivalence is that of another implementation, and they never contradict each other."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from lit_adaptconv.verdict.evidence import (
    PERMUTATIONS,
    Evidence,
    Permuted,
    Shares,
    Shifted,
    Together,
    paired,
    permuted,
    smallest_p,
)
from lit_adaptconv.verdict.lognormal import Lognormal

ZERO = np.zeros(1)


def samples(seed: int, n: int, m: int, grid: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x, y = random.normal(0.4, 1, (1, n)), random.normal(0, 1.5, (1, m))
    return (x, y) if grid is None else (np.round(x / grid) * grid, np.round(y / grid) * grid)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 5), (5, 5), (6, 6), (7, 5)])
@pytest.mark.parametrize("grid", [None, 0.5])
def test_a_permutation_p_is_scipys_exact_one(n: int, m: int, grid: float | None) -> None:
    for seed in range(3):
        x, y = samples(seed, n, m, grid)
        evidence = permuted(x, y)
        for shift in (0.0, -0.7, 0.3):
            one_sided = [
                stats.permutation_test(
                    (x[0] - shift, y[0]),
                    lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
                    vectorized=True,
                    n_resamples=np.inf,
                    alternative=side,
                ).pvalue
                for side in ("greater", "less")
            ]
            at = np.array([shift])
            assert [evidence.above(at)[0], evidence.below(at)[0]] == pytest.approx(one_sided)


def test_a_permutation_interval_by_hand() -> None:
    # Exchanging 1 for 1, or 2 for 2: the mean differences of what is exchanged.
    x, y = np.array([[3.0, 8.0]]), np.array([[1.0, 4.0]])
    turns = sorted([3 - 1, 3 - 4, 8 - 1, 8 - 4, (3 + 8) / 2 - (1 + 4) / 2])
    evidence = permuted(x, y)
    assert evidence.turns[0].tolist() == turns
    assert [end[0] for end in evidence.ends(np.array([1 / 6]))] == [turns[0], turns[-1]]
    assert [end[0] for end in evidence.ends(np.array([1 / 3]))] == [turns[1], turns[-2]]
    assert [end[0] for end in evidence.ends(np.array([0.16]))] == [-np.inf, np.inf]


@pytest.mark.parametrize("n", [9, 10])
def test_a_p_of_random_permutations_is_near_the_exact_one(n: int) -> None:
    x, y = samples(1, n, n)
    both = np.concatenate([x, y], 1)[0]
    sums = np.array([both[list(taken)].sum() for taken in combinations(range(2 * n), n)])
    exact = np.mean(np.abs(sums - both.sum() / 2) >= abs(x.sum() - both.sum() / 2) - 1e-9)
    assert permuted(x, y).p(ZERO)[0] == pytest.approx(exact, abs=5 * np.sqrt(exact / PERMUTATIONS))


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9), st.sampled_from([None, 0.5, 2.0]))
@settings(max_examples=25, deadline=None)
def test_a_p_and_an_interval_never_contradict_each_other(seed: int, n: int, m: int, grid: float | None) -> None:
    x, y = samples(seed, n, m, grid)
    random = np.random.default_rng(seed)
    for evidence in every_evidence(random, x, y):
        for alpha in (0.05, 0.01, 0.3):
            low, high = (float(end[0]) for end in evidence.ends(np.array([alpha / 2])))
            p = float(evidence.p(ZERO)[0])
            if abs(p - alpha) > 1e-6 and min(abs(low), abs(high)) > 1e-7:
                assert (p > alpha) == (low <= 0 <= high)


def every_evidence(random: np.random.Generator, x: np.ndarray, y: np.ndarray) -> list[Evidence]:
    found: list[Evidence] = [permuted(x, y)]
    n = min(x.shape[1], y.shape[1])
    if np.ptp(x[:, :n] - y[:, :n]) > 0:
        found.append(paired(x[:, :n] - y[:, :n]))
    low = np.concatenate([x, y], 1)
    late = random.random(low.shape) < 0.3
    late[0, 0] = late[0, -1] = False
    first = np.arange(low.shape[1])[None] < x.shape[1]
    found.append(Lognormal(np.where(late, 1.0, low - 0.3), np.where(late, np.inf, low), first))
    found.append(shares(random.uniform(0.2, 1, (1, 5)), 5, 1.0))
    found.append(Together(tuple((e, np.zeros(1, np.intp)) for e in found[:3]), 1))
    return [*found, Shifted(found[0], np.array([0.3]))]


def shares(times: np.ndarray, others: int, sign: float) -> Shares:
    room = np.log(1 / times)
    return Shares(np.array([sign * np.inf]), room, np.array([float(others)]), np.array([5.0]), np.array([sign]))


def test_equal_values_are_no_evidence() -> None:
    same = np.full((1, 6), 0.97)
    assert permuted(same, same.copy()).p(ZERO)[0] == 1.0
    tenths = np.full((1, 6), 0.1) * 3
    assert permuted(tenths, np.full((1, 6), 0.3)).p(ZERO)[0] == 1.0  # equal but for rounding


@pytest.mark.parametrize(("n", "m"), [(2, 2), (4, 4), (5, 5), (8, 8), (5, 9), (10, 10)])
def test_the_smallest_p_is_that_of_samples_that_do_not_overlap(n: int, m: int) -> None:
    x, y = np.arange(n)[None] + 100.0, np.arange(m)[None] + 0.0
    assert permuted(x, y).p(ZERO)[0] == pytest.approx(smallest_p(n, m), rel=0.3)
    if comb(n + m, n) <= 13_000:
        assert smallest_p(n, m) == pytest.approx(min(1.0, 2 / comb(n + m, n)))
    assert (smallest_p(4) <= 0.05, smallest_p(3) <= 0.05) == (True, False)


def test_the_paired_test_is_scipys_and_its_interval_too() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, (4, 8))
    differences[1, 2:4] = np.nan
    evidence = paired(differences)
    low, high = evidence.ends(np.full(4, 0.025))
    for row, d in enumerate(differences):
        expected = stats.ttest_1samp(d[np.isfinite(d)], 0.1)
        assert evidence.p(np.full(4, 0.1))[row] == pytest.approx(expected.pvalue)
        assert (low[row], high[row]) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_two_one_sided_tests_are_those_of_statsmodels() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(0, 0.1, 9), random.normal(0, 0.1, 9)
    evidence = paired((x - y)[None])
    ours = max(evidence.above(np.array([-0.15]))[0], evidence.below(np.array([0.15]))[0])
    assert ours == pytest.approx(ttost_paired(x, y, -0.15, 0.15)[0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_shares_are_compared_by_fishers_test(sign: float) -> None:
    times = np.array([[0.3, 0.5, 0.6, 0.8, 0.9]])
    evidence = shares(times, 6, sign)
    for ratio in (1.0, 1.2, 1.7, 3.0):
        early = int((times <= 1 / ratio + 1e-12).sum())
        expected = stats.fisher_exact([[early, 5 - early], [0, 6]], alternative="greater").pvalue
        side = evidence.above if sign > 0 else evidence.below
        assert side(np.array([sign * np.log(ratio)]))[0] == pytest.approx(expected)
    low, high = (end[0] for end in evidence.ends(np.array([0.025])))
    assert (high, low)[int(sign < 0)] == sign * np.inf  # a bound has one end
    ps = [stats.fisher_exact([[k, 5 - k], [0, 6]], alternative="greater").pvalue for k in range(6)]
    needed = next(k for k, p in enumerate(ps) if p <= 0.025)
    assert np.exp(sign * (low if sign > 0 else high)) == pytest.approx(1 / np.sort(times[0])[needed - 1])


def test_evidence_together_is_stouffers() -> None:
    random = np.random.default_rng(3)
    differences = random.normal(0.3, 1, (6, 7))
    evidence = paired(differences)
    together = Together(((evidence, np.array([0, 0, 0, 1, 1, 1])),), 2)
    for effect in (-0.2, 0.0, 0.4):
        ps = evidence.above(np.full(6, effect))
        expected = [stats.combine_pvalues(ps[arm], method="stouffer").pvalue for arm in (slice(0, 3), slice(3, 6))]
        assert together.above(np.full(2, effect)) == pytest.approx(expected)
    low, high = together.ends(np.full(2, 0.025))
    np.testing.assert_allclose(together.p(low), 0.05, rtol=1e-6)
    np.testing.assert_allclose(together.p(high), 0.05, rtol=1e-6)
    np.testing.assert_allclose(together.above(together.estimate), 0.5, atol=1e-9)


def test_budgets_that_all_know_the_same_know_it_better_together() -> None:
    differences = np.random.default_rng(4).normal(0.5, 1, (1, 8))
    alone = paired(differences)
    together = Together(((paired(np.repeat(differences, 4, 0)), np.zeros(4, np.intp)),), 1)
    assert together.estimate[0] == pytest.approx(alone.estimate[0])
    widths = [high[0] - low[0] for low, high in (alone.ends(np.array([0.025])), together.ends(np.array([0.025])))]
    assert widths[1] < 0.55 * widths[0]


def test_a_shifted_effect_is_shifted() -> None:
    evidence = paired(np.random.default_rng(5).normal(0.5, 1, (2, 8)))
    by = np.array([0.3, -1.0])
    shifted = Shifted(evidence, by)
    np.testing.assert_allclose(shifted.estimate, evidence.estimate + by)
    np.testing.assert_allclose(shifted.p(by), evidence.p(np.zeros(2)))
    ends = zip(shifted.ends(np.full(2, 0.1)), evidence.ends(np.full(2, 0.1)), strict=True)
    for ours, theirs in ends:
        np.testing.assert_allclose(ours, theirs + by)


@pytest.mark.parametrize("sizes", [(5, 5), (7, 7), (10, 10), (10, 7)])
def test_the_interval_of_a_permutation_test_covers_a_shift(sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(sizes[0])
    rows = 1_500
    x, y = 0.7 + random.gamma(2, 1, (rows, sizes[0])), random.gamma(2, 1, (rows, sizes[1]))
    evidence: Permuted = permuted(x, y)
    low, high = evidence.ends(np.full(rows, 0.025))
    assert 0.935 <= np.mean((low <= 0.7) & (high >= 0.7)) <= 0.972


@pytest.mark.slow
def test_the_permutations_of_many_seeds_do_not_fill_the_memory() -> None:
    random = np.random.default_rng(0)
    tracemalloc.start()
    try:
        permuted(random.normal(size=(6, 1667)), random.normal(size=(6, 1667)))
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()
