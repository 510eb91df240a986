"""`adaptconv choose` and `la.choose`, on folders of sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from adaptconv_cli.main import main
from report_cases import made_up_sweep

import lit_adaptconv as la
from lit_adaptconv.verdict.metric import Metric


def test_a_sentence_comes_first_then_the_networks_that_are_not_ruled_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_sweep(folder / "runs" / "a")
    assert main(["choose", "runs/a", "--at-most", "700", "--margin", "1.5"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    choice = la.choose(folder / "runs" / "a", at_most=700, margin=1.5)
    assert out.startswith(choice.sentences[0])
    assert out.startswith("Take low_rank, 596 parameters: test accuracy ")
    assert out.index("Not ruled out") > len(choice.sentences[0])
    assert choice.margin == pytest.approx(0.015)
    results = la.compare(folder / "runs" / "a").results
    mine = results[(results["arm"] == "low_rank") & (results["budget"] == 600)]
    assert choice.sweeps[0][0].mean == pytest.approx(mine["test_metric"].mean())


def test_of_several_sweeps_each_has_a_row_and_all_together_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        made_up_sweep(folder / name, name=name)
    assert main(["choose", "a", "b"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("What to take, a data set a row") :]
    assert table.count("Digits (") == 2
    assert "together" in table


def test_a_metric_of_which_less_is_better_is_chosen_alike(folder: Path) -> None:
    made_up_sweep(folder / "a")
    made_up_sweep(folder / "b", metric=Metric("val/error", "min", "test/error"))
    assert [c.arm for c in la.choose(folder / "a").sweeps[0]] == [c.arm for c in la.choose(folder / "b").sweeps[0]]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "--at-most", "100"], "has no network of at most 100 parameters: the smallest is adaptive with 293"),
        (["nowhere"], "nowhere is not the folder of a sweep"),
        (["empty"], "is not the folder of a sweep: it has no sweep.json"),
        (["a", "--margin", "0"], "margin must be above 0"),
        (["a", "loss"], "choose from sweeps of one metric"),
        (["begun"], "has no trial yet"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(
    args: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_sweep(folder / "a", seeds=2)
    made_up_sweep(folder / "loss", seeds=2, metric=Metric("val/error", "min", "test/error"))
    (folder / "empty").mkdir()
    begun = made_up_sweep(folder / "begun", seeds=2)
    begun.results_of.clear()
    begun.write()
    assert main(["choose", *args]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
