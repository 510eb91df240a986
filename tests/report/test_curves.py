from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from report_cases import made_up_sweep

from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.curves import MOST_POINTS, curves_figure, median_curve, median_curves
from lit_adaptconv.sweep.schema import CURVES_SCHEMA
from lit_adaptconv.verdict.metric import ACCURACY


def evaluations(*trials: list[float]) -> pa.Table:
    """Curves of one arm, ten steps and half an epoch apart; trial i takes i + 1 seconds each."""
    rows = [
        {"trial": str(i), "arm": "a", "kind": "a", "budget": 1, "seed": i, "pair": i, "step": 10 * k, "epoch": k / 2,
         "flops": 1000 * k, "seconds": float(k * (i + 1)), "val_metric": accuracy}
        for i, trial in enumerate(trials)
        for k, accuracy in enumerate(trial, start=1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, CURVES_SCHEMA)


def test_a_curve_is_the_median_of_the_trials_that_were_evaluated_there() -> None:
    curve = median_curve(evaluations([0.1, 0.5, 0.9], [0.2, 0.6], [0.3, 0.4, 0.7]), ACCURACY)
    assert curve is not None
    assert curve.median.tolist() == pytest.approx([20, 50, 80])
    assert curve.low.tolist() == pytest.approx([15, 45, 75])
    assert curve.high.tolist() == pytest.approx([25, 55, 85])
    assert curve.n.tolist() == [3, 3, 2]
    assert curve.spent["steps"].tolist() == [10, 20, 30]
    assert curve.spent["flops"].tolist() == [1000, 2000, 3000]
    assert curve.spent["seconds"].tolist() == [2, 4, 6]


def test_an_accuracy_that_is_no_number_is_left_out() -> None:
    curve = median_curve(evaluations([0.1, float("nan")], [0.3, 0.5]), ACCURACY)
    assert curve is not None
    assert (curve.median.tolist(), curve.n.tolist()) == (pytest.approx([20, 50]), [2, 1])
    assert median_curve(evaluations([float("nan")]), ACCURACY) is None


def test_a_long_curve_is_thinned_to_its_ends_and_evenly_between() -> None:
    curve = median_curve(evaluations(np.linspace(0, 1, 1000).tolist()), ACCURACY)
    assert curve is not None
    assert len(curve.median) == MOST_POINTS
    assert (curve.spent["steps"][0], curve.spent["steps"][-1]) == (10, 10_000)
    gaps = np.diff(curve.spent["steps"])
    assert gaps.max() - gaps.min() <= 10


def test_the_band_encloses_the_line_and_every_target_has_a_rule(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    content = read_content(tmp_path)
    drawing = curves_figure(content, 600, "epochs", median_curves(content, 600))
    assert drawing is not None
    band, line = (t for t in drawing.data if t["name"] == "standard")
    n = len(line["x"])
    assert n == 20
    assert band["x"] == line["x"] + line["x"][::-1]
    assert all(low <= y <= high for high, y, low in zip(band["y"][:n], line["y"], band["y"][n:][::-1], strict=True))
    assert [shape["name"] for shape in drawing.layout["shapes"]] == ["target 0.8", "target 0.9"]
    assert curves_figure(content, 12345, "epochs", median_curves(content, 12345)) is None
