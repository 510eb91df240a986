from __future__ import annotations

from pathlib import Path

import pytest
from report_cases import made_up_sweep

from lit_adaptconv.report.content import SweepContent, read_content
from lit_adaptconv.report.ratio import difference_figure, ratio_figure
from lit_adaptconv.report.smallest import NOT_REACHED, smallest_figure


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> SweepContent:
    folder = tmp_path_factory.mktemp("sweep")
    made_up_sweep(folder, seeds=10, targets=(0.8, 0.93))
    return read_content(folder)


def test_points_and_intervals_are_those_of_the_verdict(content: SweepContent) -> None:
    assert content.verdict is not None
    drawing = ratio_figure(content, 0.8, "flops")
    assert drawing is not None
    for trace in drawing.data:
        mine = [c for c in content.verdict.comparisons if (c.arm, c.measure, c.target) == (trace["name"], "flops", 0.8)]
        assert [x for x, c in zip(trace["x"], mine, strict=True) if c.estimate] == [
            c.estimate for c in mine if c.estimate
        ]
        error = trace["error_x"]
        for c, value, more, less in zip(mine, trace["x"], error["array"], error["arrayminus"], strict=True):
            assert c.bounds is not None
            for drawn, end in zip((value - less, value + more), c.bounds, strict=True):
                assert end is None or drawn == pytest.approx(end)
        open_ = [symbol.endswith("-open") for symbol in trace["marker"]["symbol"]]
        assert open_ == [c.answer == "undecided" for c in mine]
    assert [trace["name"] for trace in drawing.data] == ["low_rank", "adaptive"]


def test_the_faster_arm_stands_left_of_one_and_the_slower_right(content: SweepContent) -> None:
    drawing = ratio_figure(content, 0.8, "steps")
    assert drawing is not None
    fast, slow = drawing.data
    assert max(fast["x"]) < 1 < min(slow["x"])
    assert drawing.layout["shapes"][0]["x0"] == 1


def test_there_is_no_point_where_no_trial_of_either_arm_reached_the_target(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, targets=(0.95, 0.9999), failures=False)
    content = read_content(tmp_path)
    assert ratio_figure(content, 0.9999, "steps") is None
    drawing = ratio_figure(content, 0.95, "steps")
    assert drawing is not None
    assert content.verdict is not None
    found = [c for c in content.verdict.comparisons if (c.measure, c.target) == ("steps", 0.95)]
    known = [c for c in found if c.bounds is not None]
    assert 0 < len(known) < len(found)
    assert sum(len(trace["x"]) for trace in drawing.data) == len(known)


def test_the_difference_in_accuracy_is_in_points(content: SweepContent) -> None:
    drawing = difference_figure(content)
    assert drawing is not None
    rows = content.results.to_pylist()

    def mean(arm: str, budget: int) -> float:
        found = [row["test_metric"] for row in rows if (row["arm"], row["budget"]) == (arm, budget)]
        return 100 * sum(found) / len(found)

    expected = [mean("low_rank", b) - mean("standard", b) for b in content.budgets if b]
    assert drawing.data[0]["x"][1:] == pytest.approx(expected)  # the first is over all budgets together
    assert min(expected) <= drawing.data[0]["x"][0] <= max(expected)


def test_the_smallest_network_is_a_marker_and_one_that_never_gets_there_is_in_a_column_of_its_own(
    content: SweepContent,
) -> None:
    assert content.verdict is not None
    drawing = smallest_figure(content)
    assert drawing is not None
    (note,) = [note for note in drawing.layout["annotations"] if note["text"] == NOT_REACHED]
    column = 10 ** note["x"]
    assert column > max(row["parameters"] for row in content.results.to_pylist())
    for trace in drawing.data:
        mine = [s for s in content.verdict.smallest_budgets if s.arm == trace["name"]]
        assert trace["x"] == [s.parameters or (s.at.parameters if s.at else column) for s in mine]
    assert column in drawing.data[2]["x"]
    assert column not in drawing.data[0]["x"]


def test_one_arm_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, arms=("standard",), failures=False)
    alone = read_content(tmp_path)
    assert ratio_figure(alone, 0.8, "steps") is None
    assert difference_figure(alone) is None
    assert smallest_figure(alone) is not None


def test_where_a_legend_would_not_do_every_row_bears_its_arm_s_name(tmp_path: Path, content: SweepContent) -> None:
    arms = ("standard", *(f"arm_{i}" for i in range(9)))
    made_up_sweep(tmp_path, arms=arms, failures=False)
    many = difference_figure(read_content(tmp_path))
    few = difference_figure(content)
    assert many is not None
    assert few is not None
    assert few.layout["showlegend"]
    assert not many.layout["showlegend"]
    labels = dict(zip(many.layout["yaxis"]["tickvals"], many.layout["yaxis"]["ticktext"], strict=True))
    for trace in many.data:
        assert all(labels[y].endswith(f"· {trace['name']}") for y in trace["y"])
