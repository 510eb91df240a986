from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import made_up_sweep

from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.survival import reach_curve, survival_figure
from lit_adaptconv.verdict.statistics import kaplan_meier_median

TRIALS = st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=12)


def test_a_censored_trial_leaves_the_others_to_share_what_is_left() -> None:
    times = np.array([10.0, 20, 20, 30, 40, np.nan])
    curve = reach_curve(times, np.array([True, True, False, True, False, True]))
    assert curve is not None
    assert curve.times.tolist() == [0, 10, 20, 30, 40]
    # By hand: 1/5 at 10; 1/4 of what is left at 20, where one is censored; 1/2 of what is left at 30.
    survival = [1, 4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 / 2, 4 / 5 * 3 / 4 / 2]
    assert curve.share.tolist() == pytest.approx([1 - s for s in survival])
    assert curve.censored.tolist() == [0, 0, 1, 0, 1]


def test_without_any_success_the_share_stays_zero_and_the_marks_remain() -> None:
    curve = reach_curve(np.array([5.0, 5, 7]), np.zeros(3, bool))
    assert curve is not None
    assert (curve.share.tolist(), curve.censored.tolist()) == ([0, 0, 0], [0, 2, 1])
    assert reach_curve(np.array([np.nan]), np.ones(1, bool)) is None


@given(TRIALS)
def test_the_curve_crosses_a_half_where_the_verdicts_median_is(trials: list[tuple[int, bool]]) -> None:
    times, reached = np.array([float(t) for t, _ in trials]), np.array([r for _, r in trials])
    curve = reach_curve(times, reached)
    assert curve is not None
    median = kaplan_meier_median(times[None], reached[None])[0][0]
    above = curve.times[curve.share >= 0.5 - 1e-9]
    beyond = curve.times[curve.share > 0.5 + 1e-9]
    first = above[0] if len(above) else np.nan
    half = len(above) and curve.share[curve.times == first][-1] <= 0.5 + 1e-9 and len(beyond)
    assert (first + beyond[0]) / 2 if half else first == pytest.approx(median, nan_ok=True)
    assert curve.censored.sum() == (~reached).sum()


def test_the_figure_counts_the_trials_that_the_results_count(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    content = read_content(tmp_path)
    drawing = survival_figure(content, content.observations(), 300, 0.8, "steps")
    assert drawing is not None
    rows = [row for row in content.results.to_pylist() if row["budget"] == 300]
    for arm in content.arms:
        (line,) = [t for t in drawing.data if t["name"] == arm and t["mode"] == "lines"]
        mine = [row for row in rows if row["arm"] == arm]
        reached = sum(row["steps_to_0.8"] is not None and row["status"] != "diverged" for row in mine)
        assert line["customdata"][0] == [reached, 8]
        marked = sum(sum(t["customdata"]) for t in drawing.data if t["name"] == arm and t["mode"] == "markers")
        assert marked == sum(row["steps"] > 0 for row in mine) - reached


def test_many_steps_are_thinned_to_the_first_the_last_and_some_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_sweep(tmp_path, budgets=(300,), arms=("standard",), seeds=40)
    content = read_content(tmp_path)
    observations = content.observations()

    def line() -> tuple[list[float], list[float]]:
        drawing = survival_figure(content, observations, 300, 0.8, "steps")
        assert drawing is not None
        return drawing.data[0]["x"], drawing.data[0]["y"]

    whole = line()
    monkeypatch.setattr("lit_adaptconv.report.survival.MOST_STEPS", 3)
    x, y = line()
    assert len(x) < len(whole[0])
    assert (x[0], y[0], x[-1], y[-1]) == (whole[0][0], whole[1][0], whole[0][-1], whole[1][-1])
    assert set(zip(x, y, strict=True)) <= set(zip(*whole, strict=True))
