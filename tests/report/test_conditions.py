"""A report says what its trials ran on, and does not hide those that did not record it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from report_cases import made_up_sweep

from lit_adaptconv.report.content import SweepContent, read_content


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> SweepContent:
    folder: Path = tmp_path_factory.mktemp("sweep")
    made_up_sweep(folder)
    return read_content(folder)


def commits(content: SweepContent, **columns: list[str | None]) -> str:
    """What is said of the commits, where columns of the results are others."""
    results = content.results
    for name, values in columns.items():
        place = results.column_names.index(name)
        results = results.set_column(place, name, pa.array(values, results.field(place).type))
    return dict(replace(content, results=results).conditions)["Git commit"]


@pytest.mark.parametrize(("without", "said"), [(0, "abc"), (1, "abc, –"), (71, "–, abc"), (72, "–")])
def test_a_commit_that_some_trials_have_is_not_said_of_all(content: SweepContent, without: int, said: str) -> None:
    assert len(content.results) == 72
    assert commits(content, git_commit=[None] * without + ["abc"] * (72 - without)) == said


def test_trials_that_have_not_begun_are_not_asked(content: SweepContent) -> None:
    begun: list[str | None] = ["{}", None] * 36
    assert commits(content, versions=begun, git_commit=[one and "abc" for one in begun]) == "abc"
