"""`adaptconv kinds` prints every kind with what it costs."""

from __future__ import annotations

import pytest
from adaptconv_cli.kinds import kinds

from lit_adaptconv.layers import KINDS
from lit_adaptconv.layers.describe import DESCRIPTIONS
from lit_adaptconv.measure.kind_cost import kind_cost


@pytest.mark.parametrize("columns", ["72", "80", "200"])
def test_every_kind_stands_in_the_table_whatever_the_terminal_s_width(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert kinds() == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in KINDS:
        cost = kind_cost(kind)
        (row,) = (line for line in lines if line.split()[:1] == [kind])
        assert row.split()[-2:] == [f"{cost.parameters:,}", f"{cost.flops:,}"]
    assert max(map(len, lines)) <= int(columns)


def test_equations_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    kinds()
    printed = capsys.readouterr().out
    for text in DESCRIPTIONS.values():
        assert text.equation in printed  # brackets are no markup
        assert text.source in printed
        assert text.caution in printed


def test_an_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    main = pytest.importorskip("adaptconv_cli.main", reason="the package is not installed").main
    assert main(["kinds", "--verbose"]) == 2
    assert "unrecognized arguments: --verbose" in capsys.readouterr().err
