"""`adaptconv report`, from its arguments to its files."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from adaptconv_cli.main import main
from report_cases import made_up_sweep

from lit_adaptconv.errors import UserError


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object) -> None:
        raise UserError("no Chrome or Chromium was found; install one and run it again")

    monkeypatch.setattr("adaptconv_cli.report.write_pictures", none)


def test_it_writes_a_page_a_summary_and_tables_into_the_sweeps_folder(
    folder: Path, no_browser: None, capsys: pytest.CaptureFixture[str]
) -> None:
    store = made_up_sweep(folder / "runs" / "a", seeds=3)
    before = {path.name for path in (folder / "runs" / "a").iterdir()}
    assert main(["report", "runs/a"]) == 0
    report = folder / "runs" / "a" / "report"
    assert sorted(path.name for path in report.iterdir()) == ["curves.csv", "index.html", "summary.md", "trials.csv"]
    assert {path.name for path in report.parent.iterdir()} == {*before, "report"}
    assert (report / "index.html").stat().st_size < 6e6
    out = capsys.readouterr().out
    assert "No PNG or SVG: no Chrome or Chromium was found" in out
    assert "Report: runs/a/report/index.html" in out
    with (report / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [trial.id for trial in store.sweep.trials]
    assert {row["status"] for row in rows} == {"done", "failed", "diverged"}
    with (report / "curves.csv").open(newline="") as file:
        assert sum(1 for _ in file) == 1 + store.curves().num_rows


def test_several_sweeps_make_one_report_in_this_folder(folder: Path, no_browser: None) -> None:
    for name in ("a", "b"):
        made_up_sweep(folder / "runs" / name, name=name, seeds=3, budgets=(300,))
    assert main(["report", "runs/a", "runs/b"]) == 0
    assert {path.name for path in (folder / "report").iterdir()} == {
        "index.html", "summary.md", "1-trials.csv", "1-curves.csv", "2-trials.csv", "2-curves.csv",
    }  # fmt: skip
    summary = (folder / "report" / "summary.md").read_text()
    assert "# a\n" in summary
    assert "# b\n" in summary


def test_the_page_is_opened_if_that_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    made_up_sweep(folder / "a", seeds=2, budgets=(300,))
    assert main(["report", "a", "--no-pictures", "--open", "--output", "there"]) == 0
    assert opened == [(folder / "there" / "index.html").as_uri()]
    assert not (folder / "a" / "report").exists()


def test_a_sweep_without_tables_yet_is_reported_from_its_trials(folder: Path) -> None:
    store = made_up_sweep(folder / "a", seeds=2, budgets=(300,), failures=False)
    for name in ("results.parquet", "curves.parquet"):
        (folder / "a" / name).unlink()
    trial = store.sweep.trials[0]
    store.results_of[trial.id].write(store.folder.trial(trial) / "result.json")
    assert main(["report", "a", "--no-pictures"]) == 0
    assert "1 of 6 trials done" in (folder / "a" / "report" / "summary.md").read_text()


def empty(folder: Path) -> None:
    (folder / "a").mkdir()


def foreign(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "sweep.json").write_text('{"schema": 1, "name": 3}')


def truncated(folder: Path) -> None:
    made_up_sweep(folder / "a", seeds=2, budgets=(300,))
    path = folder / "a" / "results.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def half(folder: Path) -> None:
    made_up_sweep(folder / "a", seeds=2, budgets=(300,))
    (folder / "a" / "curves.parquet").unlink()


def unwritable(folder: Path) -> None:
    made_up_sweep(folder / "a", seeds=2, budgets=(300,))
    (folder / "a" / "report").write_text("a file where the folder shall be")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "is not the folder of a sweep: it has no sweep.json"),
        (empty, "is not the folder of a sweep: it has no sweep.json"),
        (foreign, "sweep.json can't be read"),
        (truncated, "results.parquet can't be read"),
        (half, "has no curves.parquet: `adaptconv status a` rebuilds it"),
        (unwritable, "can't write to a/report: File exists; --output names another folder"),
    ],
    ids=["missing", "empty", "foreign", "truncated", "half", "unwritable"],
)
def test_bad_input_is_one_line(folder: Path, make: object, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(make)
    make(folder)
    assert main(["report", "a", "--no-pictures"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    if sys.platform != "win32":
        assert message in line


def test_a_report_that_cannot_be_written_whole_leaves_the_one_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_sweep(folder / "a", seeds=2, budgets=(300,))
    assert main(["report", "a", "--no-pictures"]) == 0
    before = (folder / "a" / "report" / "index.html").read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["report", "a", "--no-pictures"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (folder / "a" / "report" / "index.html").read_bytes() == before
    assert not list((folder / "a" / "report").glob(".*"))
