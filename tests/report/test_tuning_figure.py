from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_cases import made_up_sweep, made_up_tuning

from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.report.page import page
from lit_adaptconv.report.tuning import tuning_figure
from lit_adaptconv.sweep.tuning_table import TUNING


def test_a_line_is_the_best_of_so_many_sets_and_the_page_shows_it(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    untuned = read_content(tmp_path)
    assert tuning_figure(untuned, 300) is None
    assert 'data-place="tuning"' not in page([untuned])
    tried = made_up_tuning(tmp_path)
    content = read_content(tmp_path)
    drawing = tuning_figure(content, 600)
    assert drawing is not None
    assert [trace["name"] for trace in drawing.data] == ["standard", "low_rank"]  # the third arm was not tuned
    for trace in drawing.data:
        means = 100 * np.mean(tried[trace["name"], 600], axis=1)
        expected = [np.mean([max(chosen) for chosen in combinations(means, k)]) for k in range(1, len(means) + 1)]
        assert trace["x"] == [1, 2, 3, 4]
        assert trace["y"] == pytest.approx(expected, rel=1e-4)
    assert {figure.name for figure in main_figures(content)} >= {"tuning-300", "tuning-600"}
    assert 'data-place="tuning"' in page([content])


def test_a_single_set_of_values_is_no_line(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    made_up_tuning(tmp_path, sets=1)
    content = read_content(tmp_path)
    assert tuning_figure(content, 300) is None
    assert 'data-place="tuning"' not in page([content])


@pytest.mark.parametrize("sets", [2, 3, 5, 8, 9, 40])
def test_ticks_are_whole_numbers_and_few(tmp_path: Path, sets: int) -> None:
    made_up_sweep(tmp_path)
    made_up_tuning(tmp_path, sets=sets)
    drawing = tuning_figure(read_content(tmp_path), 300)
    assert drawing is not None
    axis = drawing.layout["xaxis"]
    assert axis["tick0"] == 1
    assert axis["dtick"] == int(axis["dtick"])
    assert 2 <= len(range(1, sets + 1, axis["dtick"])) <= 8


def test_a_damaged_table_is_as_none(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    for content in (b"PAR1", b""):
        (tmp_path / TUNING).write_bytes(content)
        assert read_content(tmp_path).tuning is None
    pq.write_table(pa.table({"number": ["one"], "arm": ["standard"]}), tmp_path / TUNING)
    assert read_content(tmp_path).tuning is None
