"""Names and reasons are text: no markup, no formula, nothing that a terminal obeys."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pytest
from adaptconv_cli.display import live, render
from adaptconv_cli.fitted import fitted
from adaptconv_cli.tables import result_table
from adaptconv_cli.verdict import print_verdict
from hypothesis import given
from hypothesis import strategies as st
from report_cases import made_up_sweep
from rich.console import Console

from lit_adaptconv.report.content import for_csv, read_content
from lit_adaptconv.report.page import page
from lit_adaptconv.report.summary import summary
from lit_adaptconv.sweep.progress import Progress, Running
from lit_adaptconv.text import csv_text, visible
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.summaries import SummaryTable

NAMES = [
    "[/red]x",
    "[bold]loud[/bold]",
    "[link=file:///etc]here[/link]",
    ":boom:",
    "=cmd()|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "a\nb",
    "\u202egnp.exe",
    "<b>&amp;</b>",
    "%{y} $x$ `x`",
    "\u00e4\u2192\U0001f600",
]


def seen(text: str) -> bool:
    """Whether there is no control character in it but line breaks, and none that turns the direction."""
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cs") for c in text) and "\u202e" not in text


@given(st.text(st.characters(codec=None, categories=None)))
def test_no_character_stays_that_is_obeyed_and_others_stay_as_they_are(text: str) -> None:
    shown = visible(text)
    assert seen(shown)
    assert "\n" not in shown
    shown.encode()
    if text.isprintable():
        assert shown == text


@given(st.text())
def test_no_cell_begins_like_a_formula(text: str) -> None:
    cell = csv_text(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert cell.removeprefix("'") == visible(text).removeprefix("'")


def printed(width: int = 300) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")


def output(console: Console) -> str:
    """What was written, without the codes of rich's own styles."""
    file = console.file
    assert isinstance(file, io.StringIO)
    return re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_table_is_shown_as_it_is(name: str) -> None:
    console = printed()
    console.print(fitted(SummaryTable(f"of {name}", ("Arm", name[:9]), ((name, "1"),)), console))
    shown = output(console)
    assert f"of {visible(name)}" in shown
    assert seen(shown)
    runs = RunResult(
        "a", "1", kind=name, backbone=name, monitor=f"val/{name}", test_metric=f"test/{name}", val_value=1.0
    )
    console = printed()
    console.print(result_table([runs]))
    assert f"Best validation {visible(name)}" in output(console)
    assert seen(output(console))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_screen_of_a_sweep_is_shown_as_it_is(name: str) -> None:
    running = Progress(name, 3, None, 1, {}, (Running(f"{name} 300 #0", 1.0, 0.5, "97.12 %"),))
    console = printed()
    console.print(render(running))
    with live(Console(file=console.file, width=300)) as (_, say):
        say(f"{name} 300 #0: failed {name}")
    shown = output(console)
    assert shown.count(visible(name)) == 4
    assert seen(shown)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep in which every name and reason is one of the above."""
    folder = tmp_path_factory.mktemp("hostile")
    arms = tuple(f"arm{i}" for i in range(len(NAMES)))  # as a plan would have them
    store = made_up_sweep(
        folder, arms, (300,), 6, 4, metric=Metric("val/\x1b[31mx[/red]", "min", "test/\x1b[31mx[/red]")
    )
    named = dict(zip(arms, NAMES, strict=True))
    trials = tuple(replace(trial, arm=named[trial.arm]) for trial in store.sweep.trials)
    store.sweep = replace(store.sweep, name="\x1b[31m[/red]", trials=trials, primary_arm=NAMES[0])
    for result in store.results_of.values():  # type: ignore[attr-defined]
        result.data, result.backbone, result.device = NAMES[0], NAMES[8], NAMES[12]
        result.reason = result.reason and f"{NAMES[4]} {NAMES[8]} \udcff"
    store.sweep = replace(store.sweep, data=NAMES[0], backbone=NAMES[8])
    store.folder.write(store.sweep)
    store.write()
    return folder


def test_a_verdict_on_the_screen_shows_every_name(hostile: Path) -> None:
    console = printed(400)
    content = read_content(hostile)
    print_verdict(console, content.results, content.curves, content.sweep)
    shown = output(console)
    assert seen(shown)
    for name in NAMES:
        assert visible(name) in shown
    assert r"Test \x1b[31mx[/red]" in shown


def test_a_page_and_a_summary_hold_no_character_that_is_obeyed(hostile: Path) -> None:
    content = read_content(hostile)
    text = page([content])
    start = text.index("/**\n* plotly.js")
    own = text[:start] + text[text.index("</script>", start) :]
    own = own.replace("\u202f", " ")
    assert seen(own)
    _, packed = own.split('class="model">')
    of = json.loads(packed.split("</script>")[0])
    assert all(seen(arm["name"]) and "\n" not in arm["name"] for arm in of["arms"])
    assert seen(summary([content], [[]]))


def test_no_cell_of_the_csv_is_a_formula_or_a_code(hostile: Path) -> None:
    content = read_content(hostile)
    for table in (content.results, content.curves):
        file = io.BytesIO()
        pyarrow.csv.write_csv(for_csv(content.named(table)), file)
        text = file.getvalue().decode()
        assert seen(text)
        rows = list(csv.reader(io.StringIO(text)))
        texts = [i for i, name in enumerate(rows[0]) if name in ("arm", "kind", "reason", "data", "backbone", "sweep")]
        assert texts
        assert not any(row[i][:1] in ("=", "+", "-", "@") for row in rows for i in texts)
        assert {row[rows[0].index("arm")] for row in rows[1:]} == {csv_text(name) for name in NAMES}
