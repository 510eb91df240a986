"""Any metric, more or less of it better: the verdict is the same, and speaks the metric's own name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.summaries import Comparison
from lit_adaptconv.verdict.verdict import Verdict, summarise

SCORE = Metric("val/score", "max", "test/score")
COST = Metric("val/score", "min", "test/score")
"""The same with the other sign."""
RMSE = Metric("val/rmse", "min", "test/rmse")
TARGETS = (0.3, 0.5, 0.7)


def sweep(seed: int, arms: int, budgets: int, pairs: int, grain: int) -> list[dict[str, Any]]:
    """Results of a made-up sweep: arms that differ a little or a lot, ties, trials that failed, diverged, never ran."""
    rng = np.random.default_rng(seed)
    rows = []
    for arm in range(arms):
        skill, speed = rng.normal(0, 0.05), rng.normal(0, 0.4)
        for budget in range(1, budgets + 1):
            for pair in range(pairs):
                if rng.random() < 0.03:
                    continue
                status = str(rng.choice(["done", "failed", "diverged"], p=[0.94, 0.03, 0.03]))
                value = round((0.4 + 0.1 * budget + skill + rng.normal(0, 0.03)) * grain) / grain
                row: dict[str, Any] = {"arm": f"arm {arm}", "budget": 100 * budget, "pair": pair, "status": status}
                row |= {"parameters": 100 * budget - arm, "flops": 7, "steps": 100, "epochs": 10.0}
                row |= {"training_flops": 1000, "training_seconds": 5.0, "test_metric": value, "val_metric": value}
                for target in TARGETS:
                    steps = math.ceil(10 * math.exp(speed + target + rng.normal(0, 0.3)))
                    times = (steps, steps / 10, 10 * steps, steps / 20) if value >= target else (None,) * 4
                    row |= {
                        f"{measure}_to_{target:g}": time
                        for measure, time in zip(("steps", "epochs", "flops", "seconds"), times, strict=True)
                    }
                rows.append(row)
    return rows


def flipped(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the same trial, judged by the metric with the other sign."""
    row = {name.replace("_to_", "_to_-"): value for name, value in row.items()}
    return row | {"test_metric": -row["test_metric"], "val_metric": -row["val_metric"]}


def judged(rows: list[dict[str, Any]], metric: Metric) -> Verdict:
    targets = TARGETS if metric.mode == "max" else [-target for target in TARGETS]
    return summarise(pa.Table.from_pylist(rows), targets, "arm 0", metric)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 12), st.sampled_from([20, 1000]))
def test_the_metric_with_the_other_sign_gives_the_same_verdict(
    seed: int, arms: int, budgets: int, pairs: int, grain: int
) -> None:
    rows = sweep(seed, arms, budgets, pairs, grain)
    if not any(row["arm"] == "arm 0" for row in rows):
        return
    more, less = judged(rows, SCORE), judged([flipped(row) for row in rows], COST)
    assert less.targets == tuple(-target for target in more.targets)
    assert less.main_target == -more.main_target
    for a, b in zip(more.comparisons, less.comparisons, strict=True):
        assert_same(a, b)
    for x, y in zip(more.smallest_budgets, less.smallest_budgets, strict=True):
        assert (x.arm, x.at, x.reason) == (y.arm, y.at, y.reason)
        assert x.ratio == (None if y.ratio is None else pytest.approx(y.ratio))
        assert (x.mean is None) == (y.mean is None)
    for s, t in zip(more.convergence, less.convergence, strict=True):
        assert (s.at, s.target, s.n_reached, s.median, s.interval) == (
            t.at,
            -t.target,
            t.n_reached,
            t.median,
            t.interval,
        )
    for f, g in zip(more.finished, less.finished, strict=True):
        assert (f.n, f.mean is None, f.sd is None) == (g.n, g.mean is None, g.sd is None)
        assert f.mean is None or f.mean == pytest.approx(-(g.mean or 0.0))
    shapes = [[(len(table.columns), len(table.rows)) for table in verdict.tables()] for verdict in (more, less)]
    assert shapes[0] == shapes[1]


def assert_same(a: Comparison, b: Comparison) -> None:
    assert (a.arm, a.budget, a.over, a.n, a.n_cut, a.wins, a.ties) == (
        b.arm,
        b.budget,
        b.over,
        b.n,
        b.n_cut,
        b.wins,
        b.ties,
    )
    assert (a.answer, a.p is None) == (b.answer, b.p is None)
    if a.p is not None:
        assert (b.p, b.p_adjusted) == pytest.approx((a.p, a.p_adjusted), rel=1e-6)
    assert (a.estimate is None, a.bounds is None) == (b.estimate is None, b.bounds is None)
    low, high = a.bounds or (None, None)
    if a.target is None:
        low, high = (None if end is None else -end for end in (high, low))
    for mine, theirs in zip(b.bounds or (None, None), (low, high), strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or mine == pytest.approx(theirs, abs=1e-8)
    if a.estimate is not None:
        assert b.estimate == pytest.approx(-a.estimate if a.target is None else a.estimate, abs=1e-8)


def test_less_of_an_error_is_better_in_every_word() -> None:
    rng = np.random.default_rng(0)
    rows = [row | {"test_metric": 1 - row["test_metric"]} for row in sweep(0, 1, 1, 10, 10**6)]
    rows = [{n.replace("_to_0.5", "_to_0.05"): v for n, v in row.items()} | {"status": "done"} for row in rows]
    better = [row | {"arm": "low", "test_metric": row["test_metric"] - 0.1 + rng.normal(0, 0.001)} for row in rows]
    verdict = summarise(pa.Table.from_pylist(rows + better), [0.05], "arm 0", RMSE)
    (claimed,) = [c for c in verdict.comparisons if c.measure == RMSE]
    assert (claimed.answer, claimed.wins) == ("better", len(rows))
    assert claimed.estimate is not None
    assert claimed.estimate < 0
    assert f"better in rmse, {RMSE.difference(claimed.estimate)} (95 % interval −0.1" in verdict.sentences[0]
    titles = [table.title for table in verdict.tables()]
    assert titles == [
        "Against arm 0",
        "Test rmse",
        "Convergence",
        "All comparisons",
        "Smallest network that is good enough",
    ]
    assert verdict.tables()[0].columns[8] == "Test rmse, difference"
    text = repr([verdict.sentences, verdict.tables()])
    assert "accura" not in text
    assert "point" not in text
    shares = {summary.at.texts[3] for summary in verdict.finished}
    assert not {cell for table in verdict.tables() for row in table.rows for cell in row if "%" in cell} - shares
    assert "%" not in repr(verdict.sentences).replace("95 %", "")


def test_the_hardest_target_that_half_reach_is_spoken_of_and_it_is_the_lowest_of_an_error() -> None:
    rows = [flipped(row) | {"status": "done"} for row in sweep(1, 2, 2, 8, 1000)]
    reached = {t: sum(row[f"steps_to_-{t:g}"] is not None for row in rows) for t in TARGETS}
    half = [t for t in TARGETS if 2 * reached[t] >= len(rows)]
    assert judged(rows, COST).main_target == -max(half)


@pytest.mark.parametrize(
    ("logged", "name"),
    [
        ("val/rmse", "rmse"),
        ("val_rmse", "rmse"),
        ("validation_mean_iou", "mean_iou"),
        ("score", "score"),
        ("val/f1/macro", "f1/macro"),
        ("val/\x1b[31mred", r"\x1b[31mred"),
    ],
)
def test_a_metric_is_called_what_stands_after_the_split(logged: str, name: str) -> None:
    assert Metric(logged, "min", logged).name == name


@pytest.mark.parametrize(
    "name", ["accuracy", "iou", "mean_iou", "f1", "f1_macro", "auroc", "precision", "recall@5", "Dice"]
)
def test_shares_are_in_percent_and_their_differences_in_points(name: str) -> None:
    metric = Metric(f"val/{name}", "max", f"test_{name}")
    assert (metric.shown(0.97123), metric.bare(0.97123)) == ("97.12 %", "97.12")
    assert (metric.difference(-0.005), metric.gap(-0.005), metric.unit) == ("−0.50", "0.50", " points")
    assert (metric.goal(0.98), metric.goal(0.985)) == ("98 %", "98.5 %")


@pytest.mark.parametrize(("name", "mode"), [("rmse", "min"), ("psnr", "max"), ("iou", "min"), ("accuracy_gap", "min")])
def test_other_metrics_are_plain_numbers(name: str, mode: Any) -> None:
    metric = Metric(f"val/{name}", mode, f"test/{name}")
    shown = [metric.shown(v) for v in (0.0, 0.123456, -12.3456, 31.4159, 9999.96, 123456.7, 3.2e-7, None)]
    assert shown == ["0.000", "0.1235", "−12.35", "31.42", "10,000", "123,457", "3.200e-07", "–"]
    assert [metric.difference(v) for v in (0.0, 0.5, -0.0123456)] == ["+0.00", "+0.500", "−0.0123"]
    assert (metric.goal(0.05), metric.unit) == ("0.05", "")


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_what_reaches_a_target_is_as_good_or_better(value: float, target: float) -> None:
    assert SCORE.reaches(value, target) == COST.reaches(-value, -target)
    assert SCORE.reaches(target, target)
    if not math.isclose(value, target):
        assert SCORE.reaches(value, target) == (value > target)
        assert COST.reaches(value, target) == (value < target)


def test_a_mean_that_misses_a_target_by_rounding_reaches_it() -> None:
    assert ACCURACY.reaches(sum([0.98] * 7) / 7 - 1e-13, 0.98)
    assert Metric("val/mse", "min", "test/mse").reaches(3e-12, 2e-12) is False


@pytest.mark.parametrize("metric", [ACCURACY, RMSE])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_a_dash(metric: Metric, value: float | None) -> None:
    assert (metric.shown(value), metric.bare(value)) == ("–", "–")


@given(st.floats(-1e300, 1e300), st.sampled_from([ACCURACY, RMSE]))
def test_every_number_can_be_shown(value: float, metric: Metric) -> None:
    for text in (metric.shown(value), metric.difference(value), metric.gap(value), metric.goal(value)):
        assert text
    if metric is RMSE:
        assert float(metric.bare(value).replace(",", "").replace("−", "-")) == pytest.approx(value, rel=6e-4)


def test_two_metrics_are_no_metric() -> None:
    with pytest.raises(UserError, match="one metric in validation and test, such as val/rmse and test/rmse; got"):
        Metric("val/loss", "min", "test/accuracy")
    with pytest.raises(UserError, match="mode of the metric must be max or min"):
        Metric(mode="most")  # type: ignore[arg-type]


def test_columns_leave_under_the_metrics_own_name() -> None:
    columns = ["arm", "val_metric", "best_val_metric", "test_metric", "test_loss", "train_metric"]
    assert RMSE.headings(columns) == ["arm", "val_rmse", "best_val_rmse", "test_rmse", "test_loss", "train_rmse"]
    loss = Metric("val/loss", "min", "test/loss")
    assert loss.headings(columns) == columns  # the loss has a column already
