"""Seeds and test images drawn anew: variances from bits, against other ways to the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.proportion import proportion_confint

from benchmarks.image_simulation import Case, simulate
from lit_adaptconv.verdict.choice import choose, networks_of
from lit_adaptconv.verdict.images import COLUMNS, ImageShares, difference_variance, image_shares, reaches, widened
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.summaries import Comparison
from lit_adaptconv.verdict.verdict import Verdict, summarise


def draw(random: np.random.Generator, seeds: int, images: int, hard: float = 2.0) -> np.ndarray:
    logits = 2 + hard * random.normal(size=images) + 0.3 * random.normal(size=(seeds, 1))
    return np.asarray(random.random((seeds, images)) < 1 / (1 + np.exp(-logits)))


def of(right: np.ndarray, labels: str = "same") -> ImageShares:
    made = image_shares([(np.packbits(row).tobytes(), len(row), labels, float(row.mean())) for row in right])
    assert made is not None
    return made


def mean_squares(right: np.ndarray) -> tuple[float, float, float]:
    """Of seeds, of images and of what is left, by the analysis of variance of another package."""
    seeds, images = right.shape
    frame = pd.DataFrame({"y": right.ravel().astype(float)})
    frame["seed"], frame["image"] = np.repeat(np.arange(seeds), images), np.tile(np.arange(images), seeds)
    table = sm.stats.anova_lm(ols("y ~ C(seed) + C(image)", frame).fit())
    found = table["mean_sq"]
    return float(found["C(seed)"]), float(found["C(image)"]), float(found["Residual"])


@pytest.mark.parametrize("seed", range(4))
def test_the_variances_are_those_of_the_analysis_of_variance(seed: int) -> None:
    random = np.random.default_rng(seed)
    right = draw(random, int(random.integers(2, 7)), int(random.integers(5, 40)))
    _, images, left = mean_squares(right)
    made = of(right)
    assert made.noise == pytest.approx(left / right.size)
    assert made.variance == pytest.approx(max(0.0, (images - left) / right.size), abs=1e-12)


def test_a_bootstrap_of_seeds_and_images_finds_the_same_variance() -> None:
    """Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), which counts the noise three times."""
    random = np.random.default_rng(1)
    seeds, images = 12, 400
    right = draw(random, seeds, images).astype(float)
    again = np.empty(4000)
    for k in range(len(again)):
        rows, columns = random.integers(0, seeds, seeds), random.integers(0, images, images)
        weights = np.bincount(rows, minlength=seeds) / seeds, np.bincount(columns, minlength=images) / images
        again[k] = weights[0] @ right @ weights[1]
    made = of(right.astype(bool))
    ours = right.mean(1).var(ddof=1) / seeds + made.variance
    unscaled = again.var() + right.mean(1).var(ddof=1) / seeds**2  # a bootstrap of n has the variance of n - 1
    assert unscaled - 2 * made.noise == pytest.approx(ours, rel=0.1)


def test_the_estimates_are_right_on_average() -> None:
    random = np.random.default_rng(2)
    found, means = [], []
    for _ in range(3000):
        right = draw(random, 5, 60)
        left = of(right)
        found.append(right.mean(1).var(ddof=1) / 5 + right.mean(0).var(ddof=1) / 60 - left.noise)
        means.append(right.mean())
    assert np.mean(found) == pytest.approx(np.var(means), rel=0.1)


def test_two_arms_see_the_same_images() -> None:
    random = np.random.default_rng(3)
    a, b = draw(random, 6, 500), draw(random, 6, 500)
    assert difference_variance(of(a), of(a)) == 0  # the same errors: no image tells the arms apart
    gaps = a.mean(0) - b.mean(0)
    noise = sum(mean_squares(x[:, :60])[2] for x in (a, b))  # of a part: an analysis of 500 columns takes long
    assert difference_variance(of(a[:, :60]), of(b[:, :60])) == pytest.approx(
        max(0.0, gaps[:60].var(ddof=1) / 60 - noise / 360), abs=1e-12
    )
    shuffled = b[:, random.permutation(500)]
    assert difference_variance(of(a), of(shuffled)) > 0


@given(st.floats(0.01, 0.99), st.integers(20, 100_000))
@settings(max_examples=50)
def test_the_reach_of_independent_images_is_wilsons_interval(share: float, n: int) -> None:
    right = round(share * n)
    share = right / n
    if not 0 < right < n:
        return
    variance = np.array(share * (1 - share) / n)
    down, up = reaches(np.array(share), variance, np.array(np.inf), 0.025)
    low, high = proportion_confint(right, n, method="wilson")
    assert (share - down, share + up) == (pytest.approx(low), pytest.approx(high))


@given(st.integers(2, 6), st.integers(2, 80), st.integers(0, 10_000), st.floats(0.001, 0.2))
@settings(max_examples=200, deadline=None)
def test_the_interval_for_both_holds_that_for_seeds(seeds: int, images: int, number: int, tail: float) -> None:
    random = np.random.default_rng(number)
    right = draw(random, seeds, images, random.choice([0.0, 1.0, 5.0]))
    made = of(right)
    mean, spread = right.mean(), right.mean(1).std(ddof=1) / math.sqrt(seeds)
    down, up = reaches(mean, np.array(made.variance), np.array(made.freedom), tail)
    low, high = widened(mean, mean - spread, mean + spread, down, up)
    assert low <= mean - spread + 1e-12
    assert high >= mean + spread - 1e-12
    assert high <= max(1.0, mean + spread)
    order = random.permutation(images)
    assert of(right[:, order]).variance == pytest.approx(made.variance, abs=1e-12)  # in whichever order they come


@pytest.mark.parametrize(
    "case",
    [
        Case(0.99, 300, 5, 3.0),
        Case(0.99, 1_000, 20, 1.0, effect=True),
        Case(0.9, 300, 10, 0.0),
        Case(0.9, 2_000, 5, 3.0),
    ],
    ids=str,
)
def test_intervals_hold_the_truth_as_often_as_they_say(case: Case) -> None:
    found = simulate(case, 400)
    error = 3 * math.sqrt(0.05 * 0.95 / 400)
    assert 0.93 - error <= found.mean_both <= 0.97 + error
    assert 0.93 - error <= found.difference_both <= 0.985 + error
    if case.differ == 3:
        assert found.mean_seeds < 0.9  # which the interval for new seeds does not claim to hold


Row = dict[str, Any]


def table(
    random: np.random.Generator,
    arms: tuple[str, ...] = ("standard", "adaptive"),
    budgets: tuple[int, ...] = (500, 1000),
    seeds: int = 6,
    images: int = 250,
) -> tuple[list[Row], dict[tuple[str, int], np.ndarray]]:
    """Rows of results whose trials have bits, and what they got right."""
    rows, right = [], {}
    for budget in budgets:
        image = 2 + 2 * random.normal(size=images)
        for k, arm in enumerate(arms):
            logits = image + 0.3 * k + 0.5 * random.normal(size=images) + 0.3 * random.normal(size=(seeds, 1))
            mine = right[arm, budget] = random.random((seeds, images)) < 1 / (1 + np.exp(-logits))
            for pair in range(seeds):
                rows.append(row(arm, budget, pair, mine[pair]))
    return rows, right


def row(arm: str, budget: int, pair: int, right: np.ndarray, labels: str = "12ab") -> Row:
    accuracy = float(np.float32(right.mean()))
    made: Row = {"trial": f"{arm}{budget}{pair}", "arm": arm, "budget": budget, "pair": pair, "status": "done"}
    made |= {"parameters": budget - 1, "flops": 7, "val_metric": accuracy, "test_metric": accuracy}
    made |= {"steps": 100, "epochs": 1.0, "training_flops": 10, "training_seconds": 1.0}
    made |= {f"{measure}_to_0.5": 50 for measure in ("steps", "epochs", "flops", "seconds")}
    return made | {"test_images": len(right), "test_labels": labels, "test_correct": np.packbits(right).tobytes()}


def verdict(rows: list[Row]) -> Verdict:
    return summarise(pa.Table.from_pylist(rows), [0.5], "standard")


def differences(found: Verdict) -> dict[int | None, Comparison]:
    return {c.budget if c.over == 1 else 0: c for c in found.comparisons if c.measure == ACCURACY}


def without(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in COLUMNS} for row in rows]


def what_images_add(c: Comparison) -> list[float]:
    assert c.bounds is not None
    assert c.bounds_images is not None
    ends = np.array([c.bounds, c.bounds_images], float) - (c.estimate or 0.0)
    return [float(each) for each in np.sqrt(ends[1] ** 2 - ends[0] ** 2)]


def test_the_intervals_of_arms_and_differences_are_those_of_their_variances() -> None:
    rows, right = table(np.random.default_rng(5))
    found = verdict(rows)
    for a in found.finished:
        assert a.at.budget is not None
        mine = right[a.at.arm, a.at.budget]
        made, mean = of(mine), float(mine.mean())
        assert a.interval is not None
        assert a.interval_images is not None
        down, up = reaches(np.array(mean), np.array(made.variance), np.array(made.freedom), 0.025)
        expected = (
            mean - math.hypot(mean - a.interval.low, float(down)),
            mean + math.hypot(a.interval.high - mean, float(up)),
        )
        assert a.interval_images == (pytest.approx(expected[0], abs=1e-6), pytest.approx(expected[1], abs=1e-6))
    by_budget = differences(found)
    gaps, weights, noises = [], [], []
    for budget in (500, 1000):
        c, (a, b) = by_budget[budget], (right[arm, budget] for arm in ("adaptive", "standard"))
        # at the level of the other, which is corrected for the family: what it adds is the images' variance
        added = what_images_add(c)
        assert added[0] == pytest.approx(added[1], rel=1e-6)
        quantile = added[0] / math.sqrt(difference_variance(of(a), of(b)))
        assert quantile >= stats.norm.isf(0.025) - 1e-9
        gaps.append(a.mean(0) - b.mean(0))
        weights.append(1 / math.sqrt(sum(x.mean(1).var(ddof=1) / len(x) for x in (a, b))))
        noises.append(of(a).noise + of(b).noise)
    share = np.array(weights) / sum(weights)
    c = by_budget[0]
    both = (share[:, None] * np.array(gaps)).sum(0)
    variance = both.var(ddof=1) / both.size - float((share**2) @ noises)
    added = what_images_add(c)
    assert added == [pytest.approx(stats.norm.isf(0.025 * 0.9) * math.sqrt(variance), rel=1e-5)] * 2


def test_without_bits_all_is_as_with_them_but_for_the_second_interval() -> None:
    rows, _ = table(np.random.default_rng(6))
    new, old = verdict(rows), verdict(without(rows))
    for one, other in zip(new.comparisons, old.comparisons, strict=True):
        assert {k: v for k, v in vars(one).items() if k != "bounds_images"} == {
            k: v for k, v in vars(other).items() if k != "bounds_images"
        }
        assert other.bounds_images is None
    assert all(a.interval_images is None for a in old.finished)
    for made, covered in ((new, " for new seeds and images"), (old, " for new seeds")):
        texts = [*made.sentences, *(name for table in made.tables() for name in table.columns)]
        assert any(covered in text for text in texts)
        assert any("and images" in text for text in texts) == (made is new)
        assert all(len(line) == len(table.columns) for table in made.tables() for line in table.rows)


@pytest.mark.parametrize("spoilt", ["no bits", "other images", "too few bits", "another metric", "one trial"])
def test_where_the_bits_do_not_tell_there_is_no_second_interval(spoilt: str) -> None:
    rows, _ = table(np.random.default_rng(7), budgets=(500,))
    bad = next(row for row in rows if row["arm"] == "adaptive")
    if spoilt == "no bits":
        bad |= {"test_images": None, "test_labels": None, "test_correct": None}
    elif spoilt == "other images":
        bad["test_labels"] = "ffff"
    elif spoilt == "too few bits":
        bad["test_correct"] = bad["test_correct"][:-1]
    elif spoilt == "another metric":
        bad["test_metric"] += 0.01
    else:
        rows = [row for row in rows if row["arm"] == "standard" or row is bad]
    found = verdict(rows)
    assert [a.interval_images is None for a in found.finished] == [a.at.arm == "adaptive" for a in found.finished]
    assert all(c.bounds_images is None for c in found.comparisons)
    assert any("–" in line for table in found.tables() for line in table.rows)


def test_arms_that_were_tested_on_other_images_have_intervals_of_their_own_alone() -> None:
    rows, _ = table(np.random.default_rng(8), budgets=(500,))
    for each in rows:
        each["test_labels"] = each["arm"]
    found = verdict(rows)
    assert all(a.interval_images is not None for a in found.finished)
    assert all(c.bounds_images is None for c in found.comparisons)


def test_what_is_chosen_is_told_with_its_interval_for_both() -> None:
    rows, right = table(np.random.default_rng(9), budgets=(500,))
    networks = [networks_of(pa.Table.from_pylist(each), ACCURACY) for each in (rows, without(rows))]
    new, old = (choose([("a", "Digits", each)], ACCURACY) for each in networks)
    best, old_best = new.sweeps[0][0], old.sweeps[0][0]
    assert best.interval == old_best.interval
    assert old_best.interval_images == (None, None)
    made, mean = of(right[best.arm, 500]), best.mean
    down, _ = reaches(np.array(mean), np.array(made.variance), np.array(made.freedom), 0.0125)
    assert best.interval.low is not None
    assert best.interval_images.low == pytest.approx(mean - math.hypot(mean - best.interval.low, float(down)), abs=1e-6)
    assert f"{100 * (best.interval_images.high or 0):.2f} % for new seeds and images (6 seeds)" in new.sentences[0]
    assert " % for new seeds (6 seeds)" in old.sentences[0]
    assert "95 % for new seeds and images" in new.table.columns
    assert "95 % for new seeds and images" not in old.table.columns
    several = choose([(name, "Digits", networks[0]) for name in ("a", "b")], ACCURACY)
    pooled = several.pooled[0]
    assert pooled.interval_images.low is not None
    assert best.interval_images.low < pooled.interval_images.low < pooled.mean  # twice the seeds, twice the images
    assert all(len(line) == len(made.table.columns) for made in (new, old, several) for line in made.table.rows)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("alike", ["seeds", "arms", "images", "none"])
def test_few_seeds_and_degenerate_bits_make_no_warning(seeds: int, alike: str) -> None:
    rows, _ = table(np.random.default_rng(11), seeds=seeds)
    for each in rows:
        if alike == "seeds" or (alike == "arms" and each["arm"] == "adaptive"):
            pair = each["pair"] if alike == "arms" else 0
            (other,) = (r for r in rows if (r["arm"], r["budget"], r["pair"]) == ("standard", each["budget"], pair))
            each |= {name: other[name] for name in ("test_correct", "test_metric")}
        elif alike == "images":
            each |= {"test_correct": np.packbits(np.ones(250, np.bool_)).tobytes(), "test_metric": 1.0}
    found = verdict(rows)
    for a in found.finished:
        assert a.interval_images is None or a.interval is not None
    for c in found.comparisons:
        if c.bounds_images is not None:
            assert c.bounds is not None
            ends = [*c.bounds_images, *c.bounds]
            assert all(end is None or math.isfinite(end) for end in ends)
            if None not in ends:
                assert ends[0] <= ends[2] <= ends[3] <= ends[1]  # type: ignore[operator]
    assert found.sentences
    assert found.tables()


def test_a_metric_that_is_no_share_of_images_has_one_interval() -> None:
    rows, _ = table(np.random.default_rng(10), budgets=(500,))
    for each in rows:
        each["test_metric"] = 1 - each["test_metric"]
    error = Metric("val/error", "min", "test/error")
    found = summarise(pa.Table.from_pylist(rows), [0.5], "standard", error)
    assert all(a.interval_images is None for a in found.finished)
