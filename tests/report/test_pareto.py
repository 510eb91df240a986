from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import made_up_sweep

from lit_adaptconv.report.content import content_of, read_content
from lit_adaptconv.report.pareto import pareto_figure, pareto_front

POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12)


@given(POINTS)
def test_the_front_is_every_point_that_no_other_beats(points: list[tuple[int, int]]) -> None:
    sizes, values = [float(s) for s, _ in points], [float(v) for _, v in points]
    front = pareto_front(sizes, values)
    beaten = {
        i
        for i, (size, value) in enumerate(points)
        for other in points
        if other != (size, value) and other[0] <= size and other[1] >= value
    }
    assert {points[i] for i in front} == {points[i] for i in range(len(points)) if i not in beaten}
    assert [sizes[i] for i in front] == sorted({sizes[i] for i in front})


@pytest.mark.parametrize("size", ["parameters", "flops"])
def test_means_stand_over_the_exact_size_with_their_intervals(tmp_path: Path, size: str) -> None:
    made_up_sweep(tmp_path, failures=False)
    content = read_content(tmp_path)
    drawing = pareto_figure(content, size)  # type: ignore[arg-type]
    assert drawing is not None
    assert content.verdict is not None
    rows = content.results.to_pylist()
    for trace in drawing.data:
        if trace["name"] == "low_rank" and trace["mode"] == "lines+markers":
            mine = [row for row in rows if row["arm"] == "low_rank"]
            found = {row[size]: [r["test_metric"] for r in mine if r[size] == row[size]] for row in mine}
            assert trace["x"] == sorted(found)
            assert trace["y"] == pytest.approx([100 * sum(v) / len(v) for _, v in sorted(found.items())], abs=1e-4)
            for (_, accuracies), error in zip(sorted(found.items()), trace["error_y"]["array"], strict=True):
                assert 0 < error < 100 * (max(accuracies) - min(accuracies))
            break
    else:
        pytest.fail("low_rank has no line")


def test_widths_are_the_mean_of_the_layers_and_networks_of_other_depths_are_not_compared(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, failures=False)
    content = read_content(tmp_path)
    drawing = pareto_figure(content, "width")
    assert drawing is not None
    lines = [trace for trace in drawing.data if trace["mode"] == "lines+markers" and trace["name"] != "Pareto front"]
    assert [trace["x"] for trace in lines] == [[3.5] * 3] * 3
    assert [trace["x"] for trace in drawing.data if trace["mode"] == "markers"] == [[3.5] * 24] * 3
    widths = pa.array(["3-4-5" if arm == "adaptive" else "3-4" for arm in content.results["arm"].to_pylist()])
    place = content.results.column_names.index("widths")
    deeper = content.results.set_column(place, "widths", widths)
    assert pareto_figure(content_of(tmp_path, content.sweep, False, deeper, content.curves), "width") is None


def test_seeds_are_shown_one_by_one_only_while_they_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_sweep(tmp_path)
    content = read_content(tmp_path)

    def dots() -> int:
        drawing = pareto_figure(content)
        assert drawing is not None
        return sum(len(trace["x"]) for trace in drawing.data if trace["mode"] == "markers")

    assert dots() == content.statuses["done"] == 70
    monkeypatch.setattr("lit_adaptconv.report.pareto.MOST_DOTS", 69)
    assert dots() == 0


def test_latency_is_an_axis_in_milliseconds_where_it_was_measured(tmp_path: Path) -> None:
    made_up_sweep(tmp_path / "without", failures=False)
    assert pareto_figure(read_content(tmp_path / "without"), "onnx_latency") is None
    made_up_sweep(tmp_path / "timed", failures=False, latency=True)
    content = read_content(tmp_path / "timed")
    for size, milliseconds in (("onnx_latency", 1e-6), ("torch_latency", 3e-6)):
        drawing = pareto_figure(content, size)  # type: ignore[arg-type]
        assert drawing is not None
        lines = {t["name"]: t for t in drawing.data if t["mode"] == "lines+markers" and t["name"] != "Pareto front"}
        assert set(lines) == {"standard", "low_rank"} | ({"adaptive"} if size == "torch_latency" else set())
        for line in lines.values():
            assert line["x"] == pytest.approx([milliseconds * 100 * budget for budget in (300, 600, 1200)])
            assert "ms in PyTorch" in line["text"][0]
