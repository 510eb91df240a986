"""The page, the summary and the tables as text: nothing of a plan becomes markup, nothing is asked of a network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.compute as pc
import pytest
from adaptconv_cli.main import main
from report_cases import made_up_sweep, made_up_tuning
from sweep_cases import maker, plan, sweep

from lit_adaptconv.errors import UserError
from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.figures import main_figures, page_figures
from lit_adaptconv.report.model import PLACES, model, packed, script_json
from lit_adaptconv.report.page import page
from lit_adaptconv.report.summary import summary
from lit_adaptconv.report.thinning import page_curves, thinning
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.text import markdown

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)> & `|` %{x} $x$'


class Tags(HTMLParser):
    """Every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self._within in ("script", "style") else data


def without_plotly(text: str) -> str:
    start = text.index("/**\n* plotly.js")
    return text[:start] + text[text.index("</script>", start) :]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    made_up_sweep(folder, arms=("standard", HOSTILE), name=f"<b>{HOSTILE.replace('/', '')}", budgets=(300, 600))
    return folder


def test_hostile_names_stay_text_wherever_they_stand(hostile: Path) -> None:
    read = Tags(without_plotly(page([read_content(hostile)])))
    assert [tag for tag, _ in read.tags if tag in ("img", "b", "script")].count("script") == 3  # library, page, model
    assert "img" not in {tag for tag, _ in read.tags}
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert HOSTILE in read.text


def test_the_model_is_json_that_cannot_end_its_script(hostile: Path) -> None:
    text = script_json(model(read_content(hostile)))
    assert not re.search("[<>&\u2028\u2029]", text)
    read = json.loads(text)
    assert read["arms"][1]["name"] == HOSTILE
    assert HOSTILE in read["trials"]["arm"]["values"]


def test_every_figure_is_one_that_plotly_accepts(hostile: Path) -> None:
    content = read_content(hostile)
    made = list(page_figures(content))
    assert len(made) == len({figure.name for figure in made})
    assert {figure.name for figure in main_figures(content)} <= {figure.name for figure in made}
    for figure in made:
        drawn = figure.drawing.plotly()  # plotly refuses what it does not know
        assert drawn.data
        assert drawn.layout.xaxis.title.text
        assert drawn.layout.yaxis.title.text
        assert not any("<" in (trace.name or "") for trace in drawn.data)


def test_the_page_names_no_address_and_its_policy_allows_none(hostile: Path) -> None:
    text = without_plotly(page([read_content(hostile)]))
    assert not re.search(r"https?:|//[a-z]", text.replace("http-equiv", ""))
    (policy,) = [a["content"] for tag, a in Tags(text).tags if tag == "meta" and a.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "plotly.js v" in page([read_content(hostile)])


def test_the_page_says_how_far_the_sweep_is_and_has_failed_trials(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    content = read_content(tmp_path)
    text = Tags(without_plotly(page([content]))).text
    assert "not finished: 70 of 72 trials done, 1 failed, 1 diverged" in text
    assert "low_rank against standard: fewer steps to" in " ".join(text.split())
    assert "lit-adaptconv" in text  # the versions
    assert "arms:" in text  # the plan
    assert {"failed", "diverged", "done"} == set(model(content)["trials"]["status"]["values"])
    assert "MemoryError: <b>not enough</b>" in model(content)["trials"]["reason"]["values"]


def test_a_sweep_in_which_nothing_has_begun_has_a_page_too(tmp_path: Path) -> None:
    of = plan()
    SweepFolder(tmp_path).write(sweep(of, list(maker(of).all())))
    content = read_content(tmp_path)
    assert content.verdict is None
    assert list(page_figures(content)) == []
    assert "No trial of standard has begun" in page([content])
    assert "No trial of standard has begun" in summary([content], [[]])


def test_a_sweep_without_budgets_has_every_figure_at_the_usual_width(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, budgets=(), failures=False)
    made_up_tuning(tmp_path, budgets=(None,))
    content = read_content(tmp_path)
    made = main_figures(content)
    assert [figure.name for figure in made][:3] == [
        "pareto-parameters",
        "curves-steps-usual",
        "survival-0.9-steps-usual",
    ]
    assert {figure.place for figure in made} == set(PLACES)
    assert made[1].drawing.layout["title"]["text"] == "Learning curves, usual width"


def test_a_running_sweep_is_said_to_be_running(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    with SweepFolder(tmp_path).locked():
        content = read_content(tmp_path)
    assert content.busy
    assert content.state.startswith("running: 70 of 72 trials done")
    assert "The sweep is running." in page([content])


def test_a_finished_sweep_is_finished_while_its_networks_are_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_sweep(tmp_path, failures=False)
    with SweepFolder(tmp_path).locked():
        content = read_content(tmp_path)
        assert main(["status", str(tmp_path)]) == 0
    assert content.state == "finished: 72 of 72 trials done"
    assert "running" not in page([content]).split("<script")[0]
    assert "finished, 72 of 72 trials done" in capsys.readouterr().out


def test_several_sweeps_stand_on_one_page_one_library_and_a_link_each(tmp_path: Path) -> None:
    for name in ("first", "second"):
        made_up_sweep(tmp_path / name, name=name, seeds=3, budgets=(300,))
    text = page([read_content(tmp_path / name) for name in ("first", "second")])
    read = Tags(without_plotly(text))
    assert [a["href"] for tag, a in read.tags if tag == "a"] == ["#sweep-0", "#sweep-1"]
    assert [a["id"] for tag, a in read.tags if a.get("class") == "sweep"] == ["sweep-0", "sweep-1"]
    assert text.count("plotly.js v") == without_plotly(text).count("plotly.js v") + 1


def test_the_page_the_tables_and_the_sentences_say_alike_what_an_interval_covers(tmp_path: Path) -> None:
    for images in (0, 250):
        made_up_sweep(tmp_path / str(images), images=images, failures=False)
        content = read_content(tmp_path / str(images))
        assert content.verdict is not None
        hovers = json.dumps([made.drawing.data for made in main_figures(content)])
        texts = (summary([content], [[]]), "".join(content.verdict.sentences), hovers)
        for text in texts:
            assert " for new seeds" in text
            assert (" for new seeds and images" in text) == (images > 0)
        trials = model(content)["trials"]
        assert "test_correct" not in trials  # 1,250 bytes a trial: the results have them
        assert "test_images" in trials
        read = Tags(without_plotly(page([content]))).text
        assert ("95 % for new seeds and images" in read) == (images > 0)
        for sentence in content.verdict.sentences:
            assert sentence in read


def test_columns_travel_packed_and_come_back_the_same(hostile: Path) -> None:
    content = read_content(hostile)
    for name, column in packed(content.results).items():
        if isinstance(column, dict):
            codes = column.get("codes", [0] * column.get("length", 0))
            column = [None if code is None else column["values"][code] for code in codes]
        assert column == pytest.approx(content.results[name].to_pylist())


def test_curves_of_a_large_sweep_are_thinned_evenly_and_keep_each_trials_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_sweep(tmp_path)
    content = read_content(tmp_path)
    assert thinning(content) == ()
    assert page_curves(content).equals(content.curves)
    monkeypatch.setattr("lit_adaptconv.report.thinning.MOST_EVALUATIONS", content.curves.num_rows // 3)
    kept = page_curves(content)
    assert kept.num_rows < content.curves.num_rows / 2
    for trial in content.curves["trial"].unique().to_pylist():
        all_steps = content.curves.filter(pc.equal(content.curves["trial"], trial))["step"].to_pylist()
        steps = kept.filter(pc.equal(kept["trial"], trial))["step"].to_pylist()
        assert steps == [*all_steps[3::4], *all_steps[-1:]][: len(steps)]
        assert steps[-1] == all_steps[-1]
    assert "every 4th evaluation" in " ".join(thinning(content))


def test_a_sweep_with_many_budgets_shows_some_of_them_and_says_so(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, budgets=tuple(range(300, 3300, 100)), seeds=2, evaluations=4, arms=("standard", "low_rank"))
    content = read_content(tmp_path)
    assert (len(content.budgets), len(content.shown_budgets)) == (30, 24)
    assert (content.shown_budgets[0], content.shown_budgets[-1]) == (300, 3200)
    pictured = [figure.choice[2] for figure in main_figures(content) if figure.place == "curves"]
    assert (len(pictured), pictured[0], pictured[-1]) == (6, "300", "3200")
    assert "Of 30 budgets 24" in " ".join(thinning(content))


def test_the_summary_has_the_verdict_every_table_and_the_failures(tmp_path: Path) -> None:
    made_up_sweep(tmp_path)
    content = read_content(tmp_path)
    assert content.verdict is not None
    text = summary([content], [["figures/pareto-parameters.png"]])
    for sentence in content.verdict.sentences:
        assert markdown(sentence) in text
    for table in content.verdict.tables():
        assert f"## {table.title}" in text
    assert "![pareto-parameters](figures/pareto-parameters.png)" in text
    assert r"MemoryError: \<b\>not enough\</b\>" in text


def test_markdown_shows_hostile_text_as_it_is_in_one_cell(hostile: Path) -> None:
    lines = summary([read_content(hostile)], [[]]).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "alert" in line]
    assert rows
    for row in rows:
        assert not re.search(r"(?<!\\)[<>`]", row)
    (header,) = [line for line in lines if line.startswith("| Arm | Budget |") and "Mean" in line]
    cells = [len(re.findall(r"(?<!\\)\|", row)) for row in rows if row.startswith("| \\<")]
    assert len(re.findall(r"(?<!\\)\|", header)) in cells


@pytest.mark.parametrize("name", ["results.parquet", "curves.parquet"])
def test_a_truncated_table_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    made_up_sweep(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{name} can't be read"):
        read_content(tmp_path)


def test_latencies_are_in_selector_filter_table_and_summary(tmp_path: Path) -> None:
    made_up_sweep(tmp_path / "without", seeds=2)
    made_up_sweep(tmp_path / "timed", seeds=2, latency=True)
    for name in ("without", "timed"):
        content = read_content(tmp_path / name)
        read = Tags(without_plotly(page([content])))
        (entry,) = [attributes for tag, attributes in read.tags if attributes.get("data-filter") == "latency"]
        assert ("hidden" in entry) == (name == "without")
        offered = {attributes.get("value") for tag, attributes in read.tags if tag == "option"}
        assert ({"onnx_latency", "torch_latency"} <= offered) == (name == "timed")
        assert ("it <b>cannot" in read.text) == (name == "timed")
        text = summary([content], [[]])
        assert ("## Latency" in text) == (name == "timed")
        assert ("cpu (a chip), 1 thread; onnxruntime 1, torch 2" in text) == (name == "timed")


def test_a_column_of_nothing_takes_no_room(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, seeds=2)
    packed_columns = packed(read_content(tmp_path).results)
    assert packed_columns["onnx_latency"] == {"values": [None], "length": 18}
