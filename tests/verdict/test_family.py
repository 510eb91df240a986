"""Claims of which any is wrong five times of a hundred: corrections against statsmodels, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from lit_adaptconv.verdict.evidence import Student, paired, permuted, smallest_p
from lit_adaptconv.verdict.family import TOGETHER, Judgement, judge


def judged(differences: np.ndarray, alpha: float = 0.05, margin: float = 1e-9, together: bool = True) -> Judgement:
    """Judge differences of pairs, shape `(questions, arms, budgets, n)`."""
    shape = differences.shape[:3]
    evidence = paired(differences.reshape(-1, differences.shape[3]))
    rows = np.arange(len(evidence.estimate))
    parts = [(evidence, rows)]
    return judge(parts, shape, np.zeros(shape), alpha, np.full(shape[0], margin), together)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_the_budgets_are_corrected_by_holms_method_and_agree_with_their_intervals(
    seed: int, arms: int, budgets: int
) -> None:
    random = np.random.default_rng(seed)
    differences = random.normal(random.choice([0.0, 0.8], (1, arms, budgets, 1)), 1, (1, arms, budgets, 8))
    found = judged(differences)
    claims = found.budgets
    holm = multipletests(claims.p.ravel(), method="holm")[1].reshape(claims.p.shape)
    open_ = np.nan_to_num(found.together.adjusted, nan=1.0) <= 0.05
    factor = np.ones((1, arms)) if budgets == 1 else np.where(open_, 1, 1 / (1 - TOGETHER))
    np.testing.assert_allclose(claims.adjusted, np.minimum(1, holm * factor[..., None]), rtol=1e-9)
    for each in (found.budgets, found.together):
        known = np.isfinite(each.p)
        excludes = (each.low > 0) | (each.high < 0)
        np.testing.assert_array_equal(excludes[known], each.adjusted[known] <= 0.05)
        assert (each.low <= each.estimate + 1e-7)[known].all()
        assert (each.estimate <= each.high + 1e-7)[known].all()


def test_an_arm_over_its_budgets_is_corrected_for_the_arms() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, (1, 3, 2, 9))
    found = judged(differences)
    np.testing.assert_allclose(found.together.adjusted, np.minimum(1, found.together.p * 3 / TOGETHER))


def test_budgets_that_can_claim_nothing_do_not_cost_the_others() -> None:
    random = np.random.default_rng(1)
    many = [random.normal(mean, 0.1, (1, 8)) for mean in (1.0, 0.0)]
    few = [random.normal(0, 0.1, (2, 3)) for _ in range(2)]
    parts = [(permuted(*many), np.array([0])), (permuted(*few), np.array([1, 2]))]
    smallest = np.array([[[smallest_p(8), smallest_p(3), smallest_p(3)]]])
    found = judge(parts, (1, 1, 3), smallest, 0.05, np.array([0.5]), joint_claims=False)
    assert found.family[0] == 1
    assert found.budgets.adjusted[0, 0, 0] == pytest.approx(found.budgets.p[0, 0, 0])
    assert found.budgets.adjusted[0, 0, 1:].tolist() == [1.0, 1.0]
    assert not np.isfinite(found.budgets.low[0, 0, 1:]).any()


def test_budgets_that_contradict_each_other_are_claimed_though_nothing_is_shown_together() -> None:
    random = np.random.default_rng(2)
    means = np.array([3.0, -3.0])[None, None, :, None]
    found = judged(random.normal(0, 1, (1, 1, 2, 10)) + means)
    assert found.together.adjusted[0, 0] > 0.05
    assert (found.budgets.adjusted[0, 0] < 0.05).all()
    assert found.budgets.above[0, 0].tolist() == [True, False]


@pytest.mark.parametrize(("arms", "budgets"), [(1, 1), (1, 3), (3, 1), pytest.param(2, 3, marks=pytest.mark.slow)])
def test_under_no_effect_any_claim_is_made_at_most_5_times_of_100(arms: int, budgets: int) -> None:
    found = judged(np.random.default_rng(3).normal(size=(4_000, arms, budgets, 6)))
    wrong = (found.budgets.adjusted <= 0.05).any((1, 2)) | (np.nan_to_num(found.together.adjusted, nan=1) <= 0.05).any(
        1
    )
    assert wrong.mean() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 4_000)


@pytest.mark.slow
@pytest.mark.parametrize("real", [[[5.0, 0, 0], [0, 0, 0]], [[5.0, 5, 0], [5, 0, 0]], [[5.0, 5, 5], [0, 0, 0]]])
def test_what_is_true_of_some_makes_no_wrong_claim_of_others_likelier(real: list[list[float]]) -> None:
    means = np.array(real)
    found = judged(np.random.default_rng(4).normal(size=(4_000, 2, 3, 7)) + means[None, ..., None])
    wrong = ((found.budgets.adjusted <= 0.05) & (means == 0)).any((1, 2))
    wrong |= ((found.together.adjusted <= 0.05) & (means == 0).all(1)).any(1)
    assert wrong.mean() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 4_000)


def test_an_effect_at_the_margin_is_called_equivalent_at_most_5_times_of_100() -> None:
    found = judged(np.random.default_rng(5).normal(0.5, 1, (3_000, 1, 3, 40)), margin=0.5)
    assert (found.budgets.equivalence <= 0.05).any((1, 2)).mean() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 3_000)
    assert (found.together.equivalence <= 0.05).mean() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 3_000)
    none = judged(np.random.default_rng(6).normal(0, 1, (500, 1, 3, 60)), margin=0.5)
    assert (none.together.equivalence <= 0.05).mean() > 0.95


def test_nothing_that_was_asked_has_nothing_to_say() -> None:
    empty = Student(np.empty(0), np.empty(0), np.empty(0))
    found = judge([(empty, np.empty(0, np.intp))], (1, 2, 2), np.full((1, 2, 2), np.nan), 0.05, np.array([0.1]))
    assert np.isnan(found.budgets.p).all()
    assert np.isnan(found.together.p).all()
    assert found.family.tolist() == [0]
