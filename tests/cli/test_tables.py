"""The tables that `fit`, `compare`, `test` and `sweep` end with, of any metric."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from adaptconv_cli.fitted import WORDS, fitted
from adaptconv_cli.main import main
from adaptconv_cli.tables import checkpoint_note, result_note, result_table, stage_table
from adaptconv_cli.verdict import print_verdict
from report_cases import made_up_sweep
from rich.console import Console
from rich.table import Table
from torch import nn

from lit_adaptconv.report.content import read_content
from lit_adaptconv.train.convergence import TargetReached
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.metric import Metric


def classifier(**changes: Any) -> RunResult:
    known: dict[str, Any] = {
        "backbone": "LeNet5",
        "kind": "adaptive",
        "widths": [3, 4],
        "parameters": 1234,
        "flops": 56,
    }
    known |= {"val_value": 0.9512, "best_val_value": 0.97, "test_value": 0.96, "status": "done"}
    return RunResult("digits", "1", convergence=[TargetReached(0.9, 1200)], **(known | changes))


def regression() -> RunResult:
    reached = [TargetReached(0.5, 1000), TargetReached(0.1)]
    metric: dict[str, Any] = {"monitor": "val/rmse", "mode": "min", "test_metric": "test/rmse"}
    values = {"val_value": 0.12345, "best_val_value": 0.1, "test_value": 0.2}
    return RunResult("own", "1", status="done", model="Depth", convergence=reached, **metric, **values)


def rows(table: Table) -> dict[str, list[str]]:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    lines = [line.strip("│┃ ").split("│") for line in console.file.getvalue().splitlines() if "│" in line]  # type: ignore[attr-defined]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def test_a_run_is_shown_by_its_own_metric() -> None:
    shown = rows(result_table([regression()]))
    assert shown["Network"] == ["Depth"]
    assert (shown["Parameters"], shown["FLOPs an image"]) == (["–"], ["–"])
    assert (shown["Validation rmse"], shown["Best validation rmse"], shown["Test rmse"]) == (
        ["0.1235"],
        ["0.1000"],
        ["0.2000"],
    )
    assert list(shown).index("Steps to 0.5") < list(shown).index("Steps to 0.1")  # the easier target comes first
    assert (shown["Steps to 0.5"], shown["Steps to 0.1"]) == (["1,000"], ["not reached"])
    assert not any("accuracy" in name for name in shown)


def test_runs_of_several_metrics_stand_side_by_side() -> None:
    shown = rows(result_table([classifier(), regression()]))
    assert shown["Network"] == ["LeNet5 3-4", "Depth"]
    assert shown["Validation accuracy"] == ["95.12 %", "–"]
    assert shown["Validation rmse"] == ["–", "0.1235"]
    assert shown["Steps to 90 %"] == ["1,200", "not reached"]
    assert (shown["Test accuracy"], shown["Test rmse"]) == (["96.00 %", "–"], ["–", "0.2000"])


class Depth(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)


def test_what_a_stage_logged_is_shown_of_any_module() -> None:
    shown = rows(stage_table("test", Depth(), [{"test/rmse": 0.123456, "test/iou": 0.5}]))
    assert shown == {"Network": ["Depth"], "Parameters": ["3"], "test/rmse": ["0.1235"], "test/iou": ["50.00 %"]}


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("width", [80, 300])
def test_the_verdict_on_a_screen_speaks_of_the_metric(tmp_path: Path, width: int, details: bool) -> None:
    made_up_sweep(tmp_path, metric=Metric("val/rmse", "min", "test/rmse"), failures=False)
    content = read_content(tmp_path)
    console = Console(file=io.StringIO(), width=width)
    print_verdict(console, content.results, content.curves, content.sweep, details=details)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "accura" not in text
    assert "Test rmse" in text
    assert f"Against {content.sweep.primary_arm}: {'rmse' if details else 'test rmse'}" in text
    assert max(map(len, text.splitlines()[:-10])) <= width
    assert ("• " in text) == details


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_is_broken_over_lines(tmp_path: Path, width: int) -> None:
    made_up_sweep(tmp_path, failures=False)
    content = read_content(tmp_path)
    assert content.verdict is not None
    for table in (content.verdict.summary(), *content.verdict.short_tables(), *content.verdict.tables()):
        console = Console(file=io.StringIO(), width=width)
        console.print(fitted(table, console))
        shown: str = console.file.getvalue()  # type: ignore[attr-defined]
        for row in table.rows:
            for name, cell in zip(table.columns, row, strict=True):
                if name not in WORDS:
                    assert cell in shown, (name, cell)


@pytest.mark.parametrize(
    ("result", "least", "message"),
    [
        (classifier(), "0.97", "digits has a test accuracy of 96.00 %, less than 97.00 %"),
        (classifier(test_value=None), "0.97", "digits has a test accuracy of –, less than 97.00 %"),
        (classifier(test_value=float("nan")), "0.97", "digits has a test accuracy of –, less than 97.00 %"),
        (regression(), "0.1", "own was tested by test/rmse: leave out --min_test_accuracy"),
        (classifier(), "0.96", None),
        (regression(), "0", None),
    ],
)
def test_a_run_can_be_asked_for_an_accuracy(
    folder: Path, result: RunResult, least: str, message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    result.write(folder / "runs" / "a" / "1" / "result.json")
    assert main(["compare", "runs/a/1", "--min_test_accuracy", least]) == (message is not None)
    assert capsys.readouterr().err == ("" if message is None else f"adaptconv: error: {message}\n")


def test_the_share_of_a_budget_is_shown_where_there_is_one_and_little_is_told_in_a_line() -> None:
    small, large = classifier(parameters=762, budget=934), classifier(parameters=933, budget=934)
    assert "Of its budget" not in rows(result_table([classifier()]))
    assert rows(result_table([small, large, classifier()]))["Of its budget"] == ["81.5 %", "99.8 %", "–"]
    note = result_note([small, large, classifier()])
    assert note is not None
    assert note.plain == "Less than 95 % of the budget is used by adaptive at 934 (has 762, 81.5 %)."
    assert result_note([large, classifier()]) is None


def test_the_checkpoints_are_told_by_the_names_of_the_metrics() -> None:
    note = checkpoint_note(regression(), last=True, best=True)
    assert note is not None
    assert note.plain == (
        "Validation rmse and test rmse are those of checkpoints/last.ckpt. "
        "Best validation rmse is that of checkpoints/best.ckpt."
    )
    assert checkpoint_note(classifier(), last=None, best=False) is None
    assert checkpoint_note(RunResult("a", "1"), last=True, best=True) is None
