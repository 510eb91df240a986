"""`adaptconv kinds` prints every kind with what it costs."""

from __future__ import annotations

import pytest
from adaptconv_cli.kinds import kinds
from adaptconv_cli.main import main
from foreign_conv import GatedConv

from lit_adaptconv.layers import kinds as registry
from lit_adaptconv.layers.kinds import BUILT_IN, register_kind


@pytest.mark.parametrize("columns", ["72", "80", "200"])
def test_every_kind_stands_in_the_table_whatever_the_terminal_s_width(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert kinds([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in BUILT_IN:
        (row,) = (line for line in lines if line.split()[:1] == [kind.name])
        assert row.split()[-2:] == [f"{kind.parameters:,}", f"{kind.flops:,}"]
    assert max(map(len, lines)) <= int(columns)


def test_equations_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    kinds([])
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
    assert kinds([]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = next(i for i, line in enumerate(lines) if line.startswith("gated "))
    assert lines[at].split() == ["gated", "2,336", "4,718,592"]  # 16 gates more than an ordinary layer
    assert lines[at + 1 : at + 3] == [(GatedConv.__doc__ or ""), "a test"]
    at = next(i for i, line in enumerate(lines) if line.startswith("lost "))
    assert lines[at].split() == ["lost", "–", "–"]
    assert lines[at + 1] == "! cannot be used: conv kind 'lost' cannot be imported: No module named 'gone'"


def test_an_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kinds", "--verbose"]) == 2
    assert "unrecognized arguments: --verbose" in capsys.readouterr().err
