"""A report on any metric speaks its name, and shows the same as a report on the metric with the other sign."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_cases import made_up_sweep

from lit_adaptconv.report.content import SweepContent, for_csv, read_content
from lit_adaptconv.report.figures import page_figures
from lit_adaptconv.report.headline import headlines
from lit_adaptconv.report.model import model
from lit_adaptconv.report.page import page
from lit_adaptconv.report.pareto import pareto_figure
from lit_adaptconv.report.summary import summary
from lit_adaptconv.verdict.metric import Metric

RMSE = Metric("val/rmse", "min", "test/rmse")
SCORE = Metric("val/score", "max", "test/score")
IOU = Metric("val_iou", "max", "test_iou")


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SweepContent]:
    """One made-up sweep, judged by three metrics."""
    made = {}
    for metric in (RMSE, SCORE, IOU):
        folder = tmp_path_factory.mktemp(metric.name)
        made_up_sweep(folder, targets=(0.8, 0.93), metric=metric)
        made[metric.name] = read_content(folder)
    return made


@pytest.mark.parametrize("name", ["rmse", "score", "iou"])
def test_nothing_that_a_reader_sees_is_called_accuracy(contents: dict[str, SweepContent], name: str) -> None:
    content = contents[name]
    text = page([content])
    start = text.index("/**\n* plotly.js")
    text = text[:start] + text[text.index("</script>", start) :]
    tables = [for_csv(content.named(table)) for table in (content.results, content.curves)]
    seen = [text, summary([content], [[]]), *(" ".join(table.column_names) for table in tables)]
    for each in seen:
        assert "accura" not in each.lower()
        assert name in each
    assert {f"val_{name}", f"best_val_{name}", f"test_{name}", "test_loss"} <= set(tables[0].column_names)
    assert {f"val_{name}", f"train_{name}", "val_loss"} <= set(tables[1].column_names)


def test_an_error_claims_what_the_score_with_the_other_sign_claims(contents: dict[str, SweepContent]) -> None:
    more, less = contents["score"].verdict, contents["rmse"].verdict
    assert more is not None
    assert less is not None
    assert less.main_target == pytest.approx(1 - more.main_target)
    claims = [[(c.arm, c.budget, c.over, c.answer) for c in verdict.comparisons] for verdict in (more, less)]
    assert claims[0] == claims[1]
    assert {answer for *_, answer in claims[0]} >= {"better", "worse"}
    assert [s.at for s in more.smallest_budgets] == [s.at for s in less.smallest_budgets]
    said = [[line.text for line in headlines(verdict, verdict.main_target)] for verdict in (more, less)]
    assert any("better in score over all budgets together" in line for line in said[0])
    assert [_words(line) for line in said[0]] == [_words(line.replace("rmse", "score")) for line in said[1]]


def _words(line: str) -> str:
    """A headline without its numbers: the other sign lists estimates in the other order."""
    return re.sub(r"to 0\.\d+ |\([^)]*\)|[+−]0\.\d+", "", line)


def test_the_front_is_that_of_the_best_values(contents: dict[str, SweepContent]) -> None:
    fronts = []
    for name in ("score", "rmse"):
        drawing = pareto_figure(contents[name])
        assert drawing is not None
        (front,) = [trace for trace in drawing.data if trace["name"] == "Pareto front"]
        fronts.append(front)
    assert fronts[0]["x"] == fronts[1]["x"]
    assert fronts[0]["y"] == pytest.approx([1 - y for y in fronts[1]["y"]], abs=1e-4)


def test_figures_show_plain_values_and_shares_in_percent(contents: dict[str, SweepContent]) -> None:
    for name in ("rmse", "iou"):
        content = contents[name]
        drawn = {figure.name: figure.drawing for figure in page_figures(content)}
        curves = drawn["curves-steps-600"]
        lines = [trace for trace in curves.data if "customdata" in trace]
        low, high = curves.layout["yaxis"]["range"]
        scale = content.metric.scale
        assert scale == (100 if name == "iou" else 1)
        targets = [shape["y0"] for shape in curves.layout["shapes"]]
        assert targets == pytest.approx([scale * target for target in content.sweep.targets])
        assert all(low < target < high for target in targets)
        assert all(low <= trace["y"][-1] <= high for trace in lines)
        assert ("} %</b>" in lines[0]["hovertemplate"]) == (name == "iou")
        assert curves.layout["yaxis"]["title"]["text"] == f"Validation {name}"
        difference = drawn["difference"]
        sides = [note["text"] for note in difference.layout["annotations"]]
        assert sides[:2] == [f"← {'better' if name == 'rmse' else 'worse'} in {name}", sides[1]]
        assert drawn["smallest"].layout["yaxis"]["ticktext"] == (
            ["0.2", "0.07"] if name == "rmse" else ["80 %", "93 %"]
        )
        for drawing in drawn.values():
            drawing.plotly()


def test_the_axis_of_an_error_shows_its_best_values_and_not_the_first(contents: dict[str, SweepContent]) -> None:
    (made,) = [f for f in page_figures(contents["rmse"]) if f.name == "curves-steps-600"]
    low, high = made.drawing.layout["yaxis"]["range"]
    lines = [trace["y"] for trace in made.drawing.data if "customdata" in trace]
    assert low < min(map(min, lines))
    assert high < max(map(max, lines))


def test_the_script_of_the_page_is_told_the_columns_the_targets_and_the_unit(contents: dict[str, SweepContent]) -> None:
    of = model(contents["rmse"])
    assert of["targets"] == {"0.2": "0.2", "0.07": "0.07"}
    assert of["values"] == {"Validation": "val_rmse", "Test": "test_rmse"}
    assert set(of["values"].values()) <= set(of["trials"])
    assert (of["percent"], model(contents["iou"])["percent"]) == (False, True)
    assert all(f"steps_to_{target}" in of["trials"] for target in of["targets"])


def test_a_module_without_a_backbone_is_called_by_its_class(contents: dict[str, SweepContent]) -> None:
    content = contents["rmse"]
    nameless = replace(content, sweep=replace(content.sweep, backbone="", model="MyNetwork"))
    assert "MyNetwork on Digits" in page([nameless])
    assert "MyNetwork on Digits" in summary([nameless], [[]])


def test_a_sweep_without_flops_has_what_can_be_known(tmp_path: Path) -> None:
    store: Any = made_up_sweep(tmp_path, metric=RMSE, seeds=6, budgets=(300, 600), failures=False)
    for result in store.results_of.values():
        result.flops = None
        result.curve = [replace(e, flops=None) for e in result.curve]
    store.write()
    content = read_content(tmp_path)
    drawn = {figure.name for figure in page_figures(content)}
    assert {"pareto-parameters", "curves-steps-300", "ratio-0.2-steps"} <= drawn
    assert not any("flops" in name for name in drawn)
    json.dumps(model(content), allow_nan=False)
    assert content.verdict is not None
    (table,) = [t for t in content.verdict.tables() if t.title == "Test rmse"]
    assert {row[table.columns.index("FLOPs")] for row in table.rows} == {"–"}
    for trace in (pareto_figure(content) or pytest.fail("no figure")).data:
        assert "FLOPs" not in repr(trace.get("text"))
