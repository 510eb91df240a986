"""Which evidence speaks of two samples of times, and what it says of trials that were cut off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv.verdict.evidence import Shares, Student
from lit_adaptconv.verdict.lognormal import Lognormal
from lit_adaptconv.verdict.speed import Times, compare_times
from lit_adaptconv.verdict.statistics import log_ratios

INF, NAN = np.inf, np.nan
ZERO = np.zeros(1)


def times(*values: float, end: float = 500.0, gap: float = 10.0) -> Times:
    time = np.array([values])
    before = np.where(np.isfinite(time), np.maximum(time - gap, 0), 0.0)
    return Times(time, before, np.where(np.isnan(time), NAN, end))


def evidence_of(mine: Times, theirs: Times) -> object:
    speed = compare_times(mine, theirs)
    return speed.parts[0][0] if speed.parts else None


def test_uncensored_log_ratios_are_those_of_the_times() -> None:
    ratios, cut = log_ratios(*(np.array([x], float) for x in ([10, 40], [100, 100], [20, 20], [30, 100])))
    np.testing.assert_allclose(np.exp(ratios), [[0.5, 2]])
    assert not cut.any()


def test_a_censored_pair_is_cut_off_where_the_shorter_trial_ended() -> None:
    first = np.array([[10, 10, INF, 90, INF, NAN, INF]])
    ends = np.array([[100, 100, 100, 100, INF, NAN, INF]])
    other = np.array([[20, INF, INF, 70, INF, 10, 25]])
    other_ends = np.array([[80, 80, 80, 80, INF, 80, 80]])
    ratios, cut = log_ratios(first, ends, other, other_ends)
    #        both  other never  neither  both  both diverged  missing  diverged
    expected = [0.5, 10 / 80, 1, 90 / 70, 1, NAN, 80 / 25]
    np.testing.assert_allclose(np.exp(ratios[0]), expected)
    assert cut[0].tolist() == [False, True, True, False, True, False, True]


@given(st.lists(st.sampled_from([10.0, 20.0, 429.0, 430.0, INF]), min_size=2, max_size=2), st.floats(1, 1e9))
def test_who_reached_the_target_first_is_known_even_where_it_was_in_the_last_evaluation(
    pair: list[float], unit: float
) -> None:
    end = np.full((1, 1), 430.0 * unit)
    a, b = (np.full((1, 1), t * unit) for t in pair)
    ratio = log_ratios(a, end, b, end)[0][0, 0]
    assert np.sign(ratio) == (0 if pair[0] == pair[1] else np.sign(min(pair[0], 1e9) - min(pair[1], 1e9)))
    assert log_ratios(b, end, a, end)[0][0, 0] == pytest.approx(-ratio)


def test_where_all_arrive_the_pairs_speak_where_some_do_not_the_model_and_where_none_do_a_bound() -> None:
    fast = times(100, 120, 110, 130, 105)
    assert isinstance(evidence_of(fast, times(200, 210, 190, 220, 260)), Student)
    assert isinstance(evidence_of(fast, times(200, 210, 190, 220, INF)), Lognormal)
    assert isinstance(evidence_of(fast, times(INF, INF, INF, INF, INF)), Shares)
    assert evidence_of(times(INF, INF), times(INF, INF)) is None
    assert evidence_of(times(NAN, NAN), times(100, 120)) is None


def test_an_arm_that_never_arrives_is_bounded_and_the_bound_is_what_the_shares_allow() -> None:
    never, fast = times(*[INF] * 10), times(*np.linspace(200, 400, 10))
    for mine, theirs, sign in ((never, fast, 1), (fast, never, -1)):
        evidence = evidence_of(mine, theirs)
        assert isinstance(evidence, Shares)
        low, high = (end[0] for end in evidence.ends(np.array([0.025])))
        bound = np.exp(sign * (low if sign > 0 else high))
        assert bound == pytest.approx(500 / np.linspace(200, 400, 10)[4])  # five of ten against none of ten: p = 0.016
        assert evidence.p(ZERO)[0] < 0.001


def test_a_trial_that_arrives_in_the_last_evaluation_is_ahead_of_one_that_never_does() -> None:
    last, never = times(*[430.0] * 8, end=430), times(*[INF] * 8, end=430)
    evidence = evidence_of(last, never)
    assert isinstance(evidence, Shares)
    assert evidence.p(ZERO)[0] < 0.001
    assert evidence.ends(np.array([0.025]))[1][0] <= 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_swapping_the_arms_turns_the_evidence_round(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    drawn = random.choice([100.0, 150, 200, 300, 430, INF, INF, NAN], (2, 6, n))
    ends = np.where(np.isnan(drawn), NAN, 430.0)
    before = np.where(np.isfinite(drawn), drawn - 10, 0.0)
    mine, theirs = (Times(*(x[i] for x in (drawn, before, ends))) for i in (0, 1))
    forth, back = compare_times(mine, theirs), compare_times(theirs, mine)
    np.testing.assert_allclose(back.differences, -forth.differences)
    np.testing.assert_array_equal(back.smallest, forth.smallest)
    for (ours, rows), (turned, others) in zip(forth.parts, back.parts, strict=True):
        np.testing.assert_array_equal(rows, others)
        for effect in (-0.3, 0.0, 0.2):
            at = np.full(len(rows), effect)
            np.testing.assert_allclose(ours.above(at), turned.below(-at), rtol=1e-3, atol=2e-5)


def test_one_more_trial_that_is_cut_off_does_not_move_a_ratio_much() -> None:
    random = np.random.default_rng(0)
    slow = np.exp(6 + random.normal(0, 0.12, 10))
    fast = 0.6 * np.exp(6 + random.normal(0, 0.12, 10))
    whole, cut = (
        times(*slow, end=700.0),
        times(*np.where(np.arange(10) == slow.argmax(), INF, slow), end=slow.max() - 1),
    )
    found = [evidence_of(times(*fast, end=700.0), sample) for sample in (whole, cut)]
    ratios = [float(np.exp(e.estimate[0])) for e in found if isinstance(e, (Student, Lognormal))]
    assert ratios[0] == pytest.approx(ratios[1], rel=0.05)
