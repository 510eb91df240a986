"""`adaptconv latency`, and what a sweep does at its end."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import pytest
from adaptconv_cli import sweep
from adaptconv_cli.main import main
from rich.console import Console
from sweep_cases import copied, plan, untrained

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import read_latencies
from lit_adaptconv.sweep.store import Store


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_adaptconv.export.latency.peaks_of_inference", lambda files, threads: [(1, 2)] * len(files))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep of two networks."""
    return untrained(tmp_path_factory.mktemp("small"), plan(budgets=[300], seeds=1))


def test_a_sweeps_networks_have_a_row_each(small: Store, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied(small, folder / "runs" / "small")
    quick = ["--torch_only", "--rounds", "2", "--batch_size", "3"]
    assert main(["latency", "runs/small", *quick]) == 0
    out = capsys.readouterr().out
    assert out.count("PyTorch") == 2
    assert "Medians of 2 turns each; cpu" in out
    found = read_latencies(folder / "runs" / "small")
    assert found is not None
    assert found.batch_size == 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["runs/nowhere"], "no run of `adaptconv fit` found"),
        (["runs/small", "--threads", "0"], "threads must be at least 1"),
        (["runs/small", "--rounds", "0", "--torch_only"], "rounds must be at least 1, got 0"),
        (["runs/small", "--rounds", "many"], "--rounds"),
        ([], "folder"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    args: list[str], words: str, small: Store, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(small, folder / "runs" / "small")
    assert main(["latency", *args]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_at_a_sweeps_end_what_cannot_be_measured_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "measure_latencies", Mock(side_effect=UserError("no network")))
    console = Console(file=StringIO())
    sweep._measure_latency(tmp_path, console)
    assert console.file.getvalue() == "The latency was not measured: no network\n"  # type: ignore[attr-defined]


def test_a_sweep_that_shall_measure_begins_only_where_it_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arms = '{"standard": {}}'
    assert main(["sweep", "--name", "a", "--arms", arms, "--wandb", "false", "--measure-latency"]) == 1
    assert "pip install 'lit-adaptconv[onnx]'" in capsys.readouterr().err
    assert not (folder / "runs").exists()
