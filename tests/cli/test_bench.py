"""`adaptconv bench` prints what it measured, writes it, and says what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adaptconv_cli.main import main

from lit_adaptconv.measure import benchmark

SMALL = ["--batch_size", "2", "--in_channels", "2", "--out_channels", "2", "--image_size", "6", "--rounds", "2"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the process that measures peaks, which has tests of its own."""
    monkeypatch.setattr(benchmark, "peak_of_steps", lambda candidates, *_: [None] * len(candidates))
    monkeypatch.setenv("COLUMNS", "200")


def test_the_tables_hold_every_layer_and_the_file_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["bench", "adaptive", "adaptive_low_rank:rank=2", *SMALL, "--threads", "[1,2]", "--output", "b.json"]) == 0
    )
    printed = capsys.readouterr().out
    read = json.loads((folder / "b.json").read_text())
    assert [layer["candidate"]["name"] for layer in read["layers"]] == [
        "nn.Conv2d",
        "adaptive",
        "adaptive_low_rank:rank=2",
    ]
    for layer in read["layers"]:
        rows = [line.split() for line in printed.splitlines() if line.split()[:1] == [layer["candidate"]["name"]]]
        assert len(rows) == 5  # what it costs, and its times and speeds on one thread and on two
        assert rows[0][1] == f"{layer['parameters']:,}"
    assert "batch 2, 2→2 channels, 6×6 pixels, kernel 3×3, padding 1×1, float32, cpu" in printed
    assert "n = 2 rounds" in printed
    assert "1→2" in printed
    assert printed.count("; limit: ") == 2
    assert "gradients of the weights" in printed
    assert list(folder.iterdir()) == [folder / "b.json"]  # no temporary file


def test_every_kind_with_the_same_channels_can_be_measured_in_every_type(capsys: pytest.CaptureFixture[str]) -> None:
    for dtype in ("float64", "bfloat16"):
        assert main(["bench", "deformable", "involution", "adaptive", *SMALL, "--rounds", "1", "--dtype", dtype]) == 0
        assert dtype in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["adaptiv"], 1, ["adaptiv", "known kinds"]),
        (["adaptive:sze=2"], 1, ["sze", "generator_size"]),
        (["adaptive", "--batch_size", "0"], 1, ["batch_size", "0"]),
        (["adaptive", "--rounds", "0"], 1, ["rounds", "0"]),
        (["adaptive", "--threads", "0"], 1, ["threads", "0"]),
        (["adaptive", "--threads", "[]"], 1, ["threads"]),
        (["adaptive", "--groups", "3"], 1, ["groups"]),
        (["adaptive", "--groups", "0"], 1, ["groups"]),
        (["adaptive", "--kernel_size", "0"], 1, ["kernel_size", "0"]),
        (["adaptive", "--kernel_size", "99", "--padding", "0"], 1, ["nn.Conv2d", "99"]),
        (["adaptive", "--dtype", "int8"], 2, ["dtype", "int8", "bfloat16"]),
        (["adaptive", "--device", "abacus"], 1, ["abacus"]),
        (["adaptive", "--image_siez", "9"], 2, ["image_siez", "did you mean", "image_size"]),
        ([], 2, ["layer"]),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], status: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments[:1], *SMALL, *arguments[1:]] if arguments else ["bench"]) == status
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1, errors
    assert errors[0].startswith("adaptconv: error: ")
    assert all(word in errors[0] for word in words), errors


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("")
    assert main(["bench", "standard", *SMALL, "--output", "file/b.json"]) == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert len(printed.err.splitlines()) == 1
    assert "file" in printed.err


def test_on_a_narrow_screen_no_layer_loses_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bench", "adaptive_low_rank:rank=2", *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("adaptive_low_rank:rank=2 ") for line in lines) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_layers_are_compiled_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--batch_size", "2", "--in_channels", "4", "--out_channels", "4", "--image_size", "8", "--rounds", "2"]
    assert main(["bench", "adaptive", "adaptive_low_rank", *small, "--compile", "true"]) == 0
    out = capsys.readouterr().out
    assert "cpu, compiled" in out
    assert "adaptive_low_rank" in out
