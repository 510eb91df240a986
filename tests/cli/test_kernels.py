from __future__ import annotations

import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from adaptconv_cli.main import main
from choreographer.errors import ChromeNotFoundError

from lit_adaptconv.report.figure_files import write_picture

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ChromeNotFoundError

    monkeypatch.setattr("kaleido.Kaleido", fail)


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_there_is_a_page_and_one_line_says_why_no_picture(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kernels", "--ckpt_path", str(checkpoint), "--output", "k.html", "--image", "7"]) == 0
    out = capsys.readouterr().out
    assert "Wrote k.html\n" in out
    assert len([line for line in out.splitlines() if "no PNG" in line and "Google Chrome" in line]) == 1
    page = Path("k.html").read_text()
    assert "features.0" in page
    assert not re.search(r"<(?:script|link|img)\b[^>]*http", page)  # it needs no network
    assert not Path("k.png").exists()


@pytest.mark.usefixtures("no_browser")
def test_a_picture_that_cannot_be_drawn_is_an_error(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--ckpt_path", str(checkpoint), "--output", "k.svg"]) == 1
    assert "Chromium" in capsys.readouterr().err
    assert not Path("k.svg").exists()


@pytest.mark.slow
def test_with_a_browser_there_is_a_picture_too(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if reason := write_picture(go.Figure(), Path("probe.png")):
        pytest.skip(reason)
    options = ["--layer", "features.3", "--positions", "[[0,0],[1,2]]", "--channels", "[1]", "--input_channel", "1"]
    assert main(["kernels", "--ckpt_path", str(checkpoint), "--output", "k.html", *options]) == 0
    assert "Wrote k.html and k.png" in capsys.readouterr().out
    assert Path("k.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("no_browser")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "features.1"], ["features.1", "features.0, features.3"]),
        (["--positions", "[[3,99]]"], ["3,99", "16×16"]),
        (["--image", "9999"], ["9999", "360"]),
        (["--channels", "[7]"], ["channels", "0 to 2"]),
        (["--input_channel", "1"], ["input_channel", "0 to 0"]),
        (["--places", "0"], ["places", "1 to 8"]),
        (["--output", "k.gif"], [".html", "k.gif"]),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: list[str]
) -> None:
    assert main(["kernels", "--ckpt_path", str(checkpoint), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_a_network_without_adaptive_layers_has_none_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--model.kind", "standard"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "LeNet5 of kind 'standard'" in line
    assert "adaptive_low_rank" in line
