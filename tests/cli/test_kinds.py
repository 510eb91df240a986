"""`adaptconv kinds` prints every kind with what it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml
from adaptconv_cli.main import main
from foreign_conv import GatedConv

from lit_adaptconv.layers import kinds as registry
from lit_adaptconv.layers.kinds import BUILT_IN, register_kind
from lit_adaptconv.measure import benchmark
from lit_adaptconv.train.result import RunResult

from .conftest import Command


@pytest.mark.parametrize("columns", ["72", "80", "200"])
def test_every_kind_stands_in_the_table_whatever_the_terminal_s_width(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["kinds"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in BUILT_IN:
        (row,) = (line for line in lines if line.split()[:1] == [kind.name])
        assert row.split()[-2:] == [f"{kind.parameters:,}", f"{kind.flops:,}"]
    assert max(map(len, lines)) <= int(columns)


def test_equations_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["kinds"])
    printed = capsys.readouterr().out
    for kind in BUILT_IN:
        assert kind.equation in printed  # brackets are no markup
        assert kind.source in printed
        assert kind.caution in printed


def test_other_kinds_stand_there_too_with_what_they_say_of_themselves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register_kind("gated", GatedConv, source="a test")
    register_kind("lost", "gone.Conv")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["kinds"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = next(i for i, line in enumerate(lines) if line.startswith("gated "))
    assert lines[at].split() == ["gated", "2,336", "4,734,976"]  # 16 gates more than an ordinary layer
    assert lines[at + 1 : at + 3] == [(GatedConv.__doc__ or ""), "a test"]
    at = next(i for i, line in enumerate(lines) if line.startswith("lost "))
    assert lines[at].split() == ["lost", "–", "–"]
    assert lines[at + 1] == "! cannot be used: conv kind 'lost' cannot be imported: No module named 'gone'"


def test_an_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kinds", "--verbose"]) == 2
    assert "unknown option --verbose" in capsys.readouterr().err


MEASURED = ["--image_size", "8", "--batch_size", "1", "--rounds", "1", "--output", "bench.json"]


def test_anyone_s_convolution_is_trained_within_a_budget_and_measured(
    fit: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ["--data.image_size", "12", "--model.kind", "foreign_conv.GatedConv", "--model.kind_options.start", "0.5"]
    assert fit(*network, "--model.budget", "2000", "--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1") == 0
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert (result.kind, result.kind_options) == ("foreign_conv.GatedConv", {"start": 0.5})
    assert 1_900 < result.parameters <= 2_000
    monkeypatch.setattr(benchmark, "peak_of_steps", lambda candidates, *_: [None] * len(candidates))
    assert main(["bench", "foreign_conv.GatedConv:start=0.5", *MEASURED]) == 0
    assert json.loads(Path("bench.json").read_text())["layers"][1]["parameters"] == 2_336


@pytest.mark.slow
def test_the_memory_of_anyone_s_convolution_is_measured(folder: Path) -> None:
    """In a process of its own, which has to find it."""
    assert main(["bench", "foreign_conv.GatedConv:start=0.5", *MEASURED]) == 0
    assert json.loads(Path("bench.json").read_text())["layers"][1]["parameters"] == 2_336


@pytest.mark.slow
def test_anyone_s_convolution_is_an_arm_of_a_sweep(folder: Path) -> None:
    plan = {
        "name": "own",
        "data": {"class_path": "Digits", "init_args": {"image_size": 12}},
        "arms": {"standard": {}, "gated": {"kind": "foreign_conv.GatedConv", "kind_options": {"start": 0.5}}},
        "budgets": [1_000],
        "seeds": 1,
        "trainer": {"max_epochs": 1},
        "wandb": False,
    }
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    assert main(["sweep", "--config", "plan.yaml"]) == 0
    rows = pyarrow.parquet.read_table("runs/own/results.parquet").to_pylist()
    assert sorted((row["arm"], row["status"]) for row in rows) == [("gated", "done"), ("standard", "done")]
