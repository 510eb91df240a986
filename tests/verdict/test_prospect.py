"""What a plan can claim before it runs is what the verdict finds after it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from report_cases import made_up_sweep

from lit_adaptconv.verdict.evidence import permuted, smallest_p
from lit_adaptconv.verdict.family import Judgement, judge
from lit_adaptconv.verdict.metric import ACCURACY
from lit_adaptconv.verdict.prospect import Prospect, prospect, spread_of


def judged(gaps: np.ndarray, others: np.ndarray) -> Judgement:
    """Samples of arms × budgets × seeds, judged as the verdict does."""
    arms, budgets, n = gaps.shape
    evidence = permuted(gaps.reshape(-1, n), others.reshape(-1, n))
    smallest = np.full((1, arms, budgets), smallest_p(n))
    return judge([(evidence, np.arange(arms * budgets))], (1, arms, budgets), smallest, 0.05, np.array([0.002]))


def of(arms: int, budgets: int, seeds: int, steps: bool = False) -> Prospect:
    places = {f"arm {k}": tuple(range(budgets)) for k in range(arms + 1)}
    return prospect(places, "arm 0", seeds, steps)


@pytest.mark.parametrize("arms", [1, 2, 5])
@pytest.mark.parametrize("budgets", [1, 2, 3])
@pytest.mark.parametrize("seeds", [3, 4, 5, 7])
def test_the_smallest_p_is_that_of_samples_that_do_not_overlap(arms: int, budgets: int, seeds: int) -> None:
    random = np.random.default_rng(0)
    gaps, others = random.uniform(2, 3, (arms, budgets, seeds)), random.uniform(0, 1, (arms, budgets, seeds))
    found, planned = judged(gaps, others), of(arms, budgets, seeds)
    for c in planned.comparisons:
        claims = found.together if c.together else found.budgets
        if c.can_claim:
            assert claims.adjusted == pytest.approx(c.smallest, rel=0.01)
        else:
            assert (claims.adjusted > 0.05).all()
    assert planned.can_claim == bool(
        (found.budgets.adjusted <= 0.05).any() or (np.nan_to_num(found.together.adjusted, nan=1.0) <= 0.05).any()
    )


@pytest.mark.parametrize(("arms", "budgets"), [(1, 1), (2, 2), (19, 1), (3, 3)])
def test_with_enough_seeds_it_can_claim_and_with_fewer_not(arms: int, budgets: int) -> None:
    enough = of(arms, budgets, 1).enough
    assert enough is not None
    assert of(arms, budgets, enough).can_claim
    assert not of(arms, budgets, enough - 1).can_claim


@pytest.mark.parametrize("together", [pytest.param(True, marks=pytest.mark.slow), False])
def test_an_effect_is_found_4_times_of_5(together: bool) -> None:
    budgets = 2 if together else 1
    (c, *_) = of(1, budgets, 6).comparisons
    assert c.together == together
    effect = c.detects(1.0, 6, False)
    random = np.random.default_rng(3)
    found = 0
    for _ in range(300):
        gaps, others = random.normal(effect, 1, (1, budgets, 6)), random.normal(0, 1, (1, budgets, 6))
        claims = judged(gaps, others)
        found += bool(((claims.together if together else claims.budgets).adjusted <= 0.05).all())
    assert 0.7 <= found / 300 <= 0.92


@pytest.mark.parametrize("steps", [True, False])
def test_seeds_and_effects_are_inverse(steps: bool) -> None:
    for c in of(3, 3, 12, steps).comparisons:
        effect = c.detects(0.01, 12, steps)
        assert c.seeds(effect * (1 + 1e-6), 0.01, steps) == 12
        assert c.seeds(effect * 0.98, 0.01, steps) == 13
        assert c.seeds(1e-9, 0.01, steps) is None


def test_one_seed_finds_nothing_and_more_seeds_more() -> None:
    assert not of(2, 2, 1).can_claim
    assert not of(2, 2, 1, steps=True).can_claim
    assert of(2, 2, 2, steps=True).can_claim
    effects = [of(2, 2, n).comparisons[0].detects(1.0, n, False) for n in (3, 4, 6, 10, 30)]
    assert effects[0] == math.inf or effects[0] > effects[1]
    assert effects[1:] == sorted(effects[1:], reverse=True)


def test_arms_that_are_compared_with_nothing_are_named() -> None:
    assert prospect({"a": (1,), "b": (2,), "c": (1, 2)}, "a", 5, False).alone == ("b",)
    assert prospect({"a": (1, 2), "b": (3, 4), "c": (1,)}, "a", 5, False).alone == ()  # by their smallest networks
    assert prospect({"a": (1,), "b": (2,)}, "a", 5, False).alone == ("b", "a")
    nothing = prospect({"a": (None,)}, "a", 5, False)
    assert (nothing.comparisons, nothing.enough, nothing.can_claim) == ((), None, False)


def test_the_spread_is_pooled_over_all_networks(tmp_path: Path) -> None:
    store = made_up_sweep(tmp_path, failures=False)
    results, curves = store.results(), store.curves()
    frame = results.to_pandas()
    variances = frame.groupby(["arm", "budget"])["test_metric"].var()
    found = spread_of(results, curves, (0.8, 0.9), "standard", ACCURACY, False, None)
    assert found == pytest.approx(math.sqrt(variances.mean()))
    log = np.log(frame["steps_to_0.8"].astype(float))
    frame["log"] = log
    wide = frame.pivot_table(index=["budget", "pair"], columns="arm", values="log")
    differences = wide[["low_rank", "adaptive"]].sub(wide["standard"], axis=0)
    expected = math.sqrt(differences.groupby("budget").var().to_numpy().mean())
    steps = spread_of(results, curves, (0.8, 0.9), "standard", ACCURACY, True, 0.8)
    assert steps == pytest.approx(expected, rel=0.5)  # to stay, not once
