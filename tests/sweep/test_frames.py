"""Sweeps in Python: what goes in, and the tables that come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from report_cases import made_up_sweep

import lit_adaptconv as la
from lit_adaptconv.errors import UserError

PLAN: dict[str, Any] = {
    "name": "small",
    "arms": {"standard": {}, "separable": {"kind": "separable"}},
    "budgets": [800],
    "seeds": 2,
    "targets": [0.1],
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "data": {"class_path": "Digits", "init_args": {"image_size": 12}},
    "wandb": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    made_up_sweep(path, seeds=8, targets=(0.8, 0.95), failures=False)
    return path


def test_the_tables_are_those_of_the_folder(folder: Path) -> None:
    tables = la.compare(folder)
    assert tables.folder == folder
    for frame, name in ((tables.results, "results"), (tables.curves, "curves")):
        written = pq.read_table(folder / f"{name}.parquet").to_pandas()
        assert list(frame.columns) == list(written.columns)
        assert len(frame) == len(written) > 0


def test_the_summary_is_that_of_the_rows(folder: Path) -> None:
    tables = la.compare(folder)
    means = tables.results.groupby(["arm", "budget"])["test_metric"].mean()
    for row in tables.summary.itertuples():
        assert row.mean == pytest.approx(means[row.arm, row.budget])
        assert row.low < row.mean < row.high
    assert set(tables.comparisons["arm"]) == set(tables.results["arm"]) - {"standard"}
    assert set(tables.comparisons["answer"]) <= {"better", "worse", "equivalent", "undecided"}
    steps = tables.speed[(tables.speed["measure"] == "steps") & (tables.speed["target"] == 0.8)]
    assert np.isfinite(steps["median"]).all()
    assert any(" points (95 % interval " in sentence for sentence in tables.sentences)
    assert tables.summary["low_images"].isna().all()  # nobody kept which images these networks got right


def test_where_trials_have_bits_the_frames_have_the_wider_intervals_too(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, images=400, failures=False)
    tables = la.compare(tmp_path)
    assert (tables.summary["low_images"] <= tables.summary["low"]).all()
    assert (tables.summary["high_images"] >= tables.summary["high"]).all()
    accuracy = tables.comparisons[tables.comparisons["target"].isna()]
    assert (accuracy["low_images"] <= accuracy["low"]).all()
    assert tables.comparisons["low_images"].notna().sum() == len(accuracy)
    assert "low_images" not in tables.speed


@pytest.mark.slow
def test_a_plan_is_trained_and_a_folder_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = la.sweep(PLAN, workers=2)
    assert first.folder.relative_to(tmp_path) == Path("runs/small")
    assert list(first.results["status"]) == ["done"] * 4
    again = la.sweep(first.folder)  # nothing is left to train
    assert again.results.equals(first.results)
    assert la.compare(PLAN).results.equals(first.results)
    more = la.sweep({**PLAN, "seeds": 3})
    assert len(more.results) == 6
    assert set(first.results["trial"]) < set(more.results["trial"])


@pytest.mark.parametrize("source", ["nowhere", "sweeps/digit", {"name": "x", "arms": {}}])
def test_what_is_no_sweep_is_told_in_one_line(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for function in (la.sweep, la.compare):
        with pytest.raises(UserError) as told:
            function(source)
        assert "\n" not in str(told.value)
