from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from report_cases import made_up_sweep, made_up_tuning

from lit_adaptconv.errors import UserError
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
    assert tuning_figure(read_content(tmp_path), 300) is None


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    (tmp_path / TUNING).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"tuning\.parquet can't be read: .*the sweep's own command writes it anew"):
        read_content(tmp_path)
