"""`adaptconv plan`, and what a plan says of itself before it runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import adaptconv_cli.plan
import pytest
import sweep_cases
from adaptconv_cli.main import main
from adaptconv_cli.plan import Cost
from adaptconv_cli.prospect import print_prospect
from report_cases import made_up_sweep
from rich.console import Console

from lit_adaptconv.verdict.question import Question


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(plan: Any) -> Cost:
        return Cost(dict.fromkeys(plan.arm_budgets, 10.0), "The time is made up.")

    monkeypatch.setattr(adaptconv_cli.plan, "_cost", seconds)


def shown(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["plan", *args]) == 0
    return capsys.readouterr().out


def test_it_prints_seeds_and_cost_of_each_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "sweeps/digits", "--detect", "0.5", "--sd", "0.33")
    rows = [line.split() for line in out.splitlines() if "low_rank" in line]
    assert ["500", "12", "36"] in [row[2:5] for row in rows]
    assert ["1,000", "12", "36"] in [row[2:5] for row in rows]
    assert "6 min 00 s" in out
    assert "0.33 points (given)" in out
    ratio = shown(capsys, "sweeps/digits", "--detect-ratio", "0.85")
    assert ratio.replace("0.850", "") == shown(capsys, "sweeps/digits", "--detect-ratio", str(1 / 0.85)).replace(
        "0.850", ""
    )


def test_the_spread_is_that_of_an_earlier_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up_sweep(folder / "a")
    assert "(of a)" in shown(capsys, "sweeps/digits", "--detect", "0.5", "--like", "a")
    assert "(of a)" in shown(capsys, "sweeps/digits", "--detect-ratio", "0.9", "--like", "a")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give --detect, such as 0.2 points, or --detect-ratio"),
        (["--detect", "1", "--detect-ratio", "0.8"], "give --detect, such as"),
        (["--detect", "0"], "--detect must be above 0"),
        (["--detect-ratio", "1"], "--detect must be above 0"),
        (["--detect-ratio", "-2"], "--detect must be above 0"),
        (["--detect", "1", "--sd", "0"], "--sd must be above 0"),
        (["--detect", "1", "--sd", "1", "--like", "a"], "give --like or --sd, not both"),
        (["--detect", "1", "--like", "nowhere"], "nowhere is not the folder of a sweep"),
    ],
)
def test_bad_options_are_one_line(
    args: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "sweeps/digits", *args]) in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def said(**changes: Any) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    print_prospect(console, sweep_cases.plan(**changes))
    return console.export_text()


def test_a_plan_says_what_it_can_find(folder: Path) -> None:
    out = said(seeds=10)
    assert "all 2 together" in out
    assert "each of 2" in out
    assert "cannot claim" not in out
    assert "Question: test accuracy. Spread between seeds: 0.33 points (assumed;" in out
    steps = said(seeds=10, question=Question("steps", 0.9))
    assert "Question: steps to 90 %" in steps
    assert "any" in steps
    other = said(seeds=10, monitor="val/loss", mode="min")
    assert "standard deviations" in other


def test_a_plan_that_cannot_claim_says_with_how_many_seeds_it_could(folder: Path) -> None:
    out = said(seeds=2)
    assert "The plan cannot claim anything: with 2 seeds p is at least " in out
    enough = int(out.partition("With ")[2].split()[0])
    assert "cannot claim" in said(seeds=enough - 1)
    assert "cannot claim" not in said(seeds=enough)
