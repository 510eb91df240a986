"""Budgets of several limits in results, verdict and page: all but their names is as with numbers of parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from report_cases import made_up_sweep

from lit_adaptconv.measure.budget import Budget, Limits, limits_text, to_columns
from lit_adaptconv.report.content import SweepContent, read_content
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.report.model import model
from lit_adaptconv.report.page import page
from lit_adaptconv.report.summary import summary
from lit_adaptconv.sweep import compare
from lit_adaptconv.sweep.choosing import choose
from lit_adaptconv.sweep.schema import LIMITS, results_schema
from lit_adaptconv.sweep.store import read_curves, read_results
from lit_adaptconv.verdict.budget_columns import budgets_of, rows_at
from lit_adaptconv.verdict.choice import networks_of
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.verdict import Verdict, summarise

NUMBERS: tuple[int, ...] = (300, 600, 1200, 1300)
COMPOUND: tuple[Limits, ...] = (
    Budget(parameters=300, flops=10**9),
    600,
    Budget(flops=120_000),
    Budget(bytes=5_200, dtype="float32"),
)
NAMES = dict(zip(COMPOUND, NUMBERS, strict=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) / "made-up" for name in ("numbers", "compound")}
    for folder, budgets in zip(made.values(), (NUMBERS, COMPOUND), strict=True):
        folder.mkdir()
        made_up_sweep(folder, budgets=budgets, images=200)
    return made


@pytest.fixture(scope="module")
def contents(folders: dict[str, Path]) -> dict[str, SweepContent]:
    return {name: read_content(folder) for name, folder in folders.items()}


def verdict(content: SweepContent) -> Verdict:
    assert content.verdict is not None
    return content.verdict


def as_numbers(value: Any) -> Any:
    """The same with numbers of parameters in the place of budgets, and without sizes that only they have."""
    if isinstance(value, (int, Budget)) and not isinstance(value, bool) and value in NAMES:
        return NAMES[value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name != "reason"]
        return {name: as_numbers(getattr(value, name)) for name in names}
    if isinstance(value, (list, tuple)):
        return [as_numbers(each) for each in value]
    return value


@pytest.mark.parametrize("part", ["finished", "convergence", "comparisons", "smallest_budgets", "main_target"])
def test_the_numbers_of_a_verdict_are_those_of_plain_budgets(contents: dict[str, SweepContent], part: str) -> None:
    found = {name: as_numbers(getattr(verdict(content), part)) for name, content in contents.items()}
    assert repr(found["compound"]) == repr(found["numbers"])  # NaN equals NaN


def test_what_costs_the_same_is_found_alike(contents: dict[str, SweepContent]) -> None:
    found = {name: as_numbers(content.equal_costs) for name, content in contents.items()}
    assert repr(found["compound"]) == repr(found["numbers"])
    assert any(pair.at.budget in COMPOUND for cost in contents["compound"].equal_costs for pair in cost.pairs)


def test_networks_to_choose_from_are_the_same(folders: dict[str, Path], contents: dict[str, SweepContent]) -> None:
    found = {name: as_numbers(networks_of(content.results, content.metric)) for name, content in contents.items()}
    assert repr(found["compound"]) == repr(found["numbers"])
    assert choose(folders["compound"]).sentences == choose(folders["numbers"]).sentences


def test_tables_and_sentences_name_the_limits(contents: dict[str, SweepContent]) -> None:
    found = verdict(contents["compound"])
    said = " ".join(found.sentences)
    for text in ("At 300 parameters and 1 GFLOPs,", "At 600 parameters,", "At 120 kFLOPs,", "At 5.2 kB,"):
        assert text in said
    for table in found.tables():
        if "Budget" in table.columns:
            shown = {row[table.columns.index("Budget")] for row in table.rows} - {"together"}
            assert shown == {limits_text(budget) for budget in COMPOUND}
        if "Of budget" in table.columns:
            shares = {row[table.columns.index("Of budget")] for row in table.rows if row[0] == "standard"}
            assert shares == {"99.6 % of parameters, 0.0 % of FLOPs", "99.8 %", "100.0 % of FLOPs", "100.0 % of bytes"}
    assert "300 parameters and 1 GFLOPs" in summary([contents["compound"]], [[]])


def test_the_page_has_every_figure_at_every_budget(contents: dict[str, SweepContent]) -> None:
    figures = {name: {each.name: each for each in main_figures(content)} for name, content in contents.items()}
    assert len(figures["compound"]) == len(figures["numbers"])
    assert {"curves-steps-300-parameters-1000000000-flops", "curves-steps-600", "curves-steps-120000-flops"} <= {
        *figures["compound"]
    }
    for name, other in (("120000-flops", "1200"), ("5200-bytes", "1300"), ("600", "600")):
        made, plain = (
            figures[of][f"curves-steps-{key}"].drawing for of, key in (("compound", name), ("numbers", other))
        )
        assert made.data == plain.data
    text = page([contents["compound"]])
    for key, budget in (("300-parameters-1000000000-flops", "300 parameters and 1 GFLOPs"), ("5200-bytes", "5.2 kB")):
        assert f'<option value="{key}">{budget}</option>' in text
    axis = figures["compound"]["difference"].drawing.layout["yaxis"]
    assert axis["title"]["text"] == "Budget"
    assert axis["ticktext"] == ["together", *(str(Budget.of(budget)) for budget in COMPOUND)]
    assert figures["numbers"]["difference"].drawing.layout["yaxis"]["title"]["text"] == "Budget, parameters"


def test_the_table_of_trials_names_budgets_only_where_they_are_not_all_numbers(
    contents: dict[str, SweepContent],
) -> None:
    assert model(contents["numbers"])["budgets"] == {}
    column = model(contents["compound"])["budgets"]["budget"]
    shown = [column["values"][code] for code in column["codes"]]
    assert shown == [str(Budget.of(budget or 1)) for budget in budgets_of(contents["compound"].results)]


def test_a_budget_finds_its_rows_and_no_others(folders: dict[str, Path]) -> None:
    for table in (read_results(folders["compound"]), read_curves(folders["compound"])):
        asked = budgets_of(table)
        assert {*asked} == {*COMPOUND}
        for budget in COMPOUND:
            assert budgets_of(rows_at(table, budget)) == [other for other in asked if other == budget]
    assert rows_at(read_results(folders["compound"]), 300).num_rows == 0


def test_tables_of_before_have_the_same_budgets(folders: dict[str, Path]) -> None:
    table = read_results(folders["numbers"])
    before = table.drop_columns([*LIMITS, "file_bytes"])
    assert budgets_of(before) == budgets_of(table) == table["budget"].to_pylist()
    assert {budget: rows_at(before, budget).num_rows for budget in NUMBERS} == dict.fromkeys(NUMBERS, 24)
    empty = pa.Table.from_pylist([], results_schema((0.9,)))
    assert budgets_of(empty) == []


def test_frames_have_a_column_for_each_limit(folders: dict[str, Path]) -> None:
    tables = compare(folders["compound"])
    for frame in (tables.results, tables.curves, tables.summary, tables.speed, tables.comparisons):
        alone = frame[frame.budget.notna() & frame.budget_flops.isna()]
        assert {*alone.budget} == {600}
        assert {*frame.budget_flops.dropna()} == {10**9, 120_000}
        assert {*frame.budget_bytes.dropna()} == {5_200}
        assert {*frame.budget_dtype.dropna()} == {"float32"}
    assert "budget" in compare(folders["numbers"]).summary


def repeated(content: SweepContent, arms: tuple[str, ...]) -> Verdict:
    """The verdict with another budget at which these arms have the networks, and numbers, of 600."""
    again = Budget(flops=10**9)  # it stands behind all numbers
    tables = []
    for table in (content.results, content.curves):
        rows, asked = table.to_pylist(), budgets_of(table)
        added = [
            {**row, "trial": f"{row['trial']} again", **to_columns(again)}
            for row, at in zip(rows, asked, strict=True)
            if at == 600
        ]
        random = np.random.default_rng(3)
        for row in added:
            if row["arm"] not in arms and "parameters" in row:
                row["parameters"] += 1  # another network, whose numbers are others
                row["test_metric"] = row["test_metric"] and row["test_metric"] + random.normal(0, 0.01)
        tables.append(pa.Table.from_pylist([*rows, *added], table.schema))
    targets, primary = content.sweep.targets, content.sweep.primary_arm
    return summarise(tables[0], targets, primary, content.metric, curves=tables[1])


@pytest.mark.parametrize("arms", [("standard", "low_rank", "adaptive"), ("standard",), ("low_rank", "adaptive")])
def test_a_network_that_stands_at_two_budgets_counts_once_for_all_together(
    contents: dict[str, SweepContent], arms: tuple[str, ...]
) -> None:
    plain = verdict(contents["numbers"])
    found = repeated(contents["numbers"], arms)
    joint = [[c for c in v.comparisons if c.over > 1] for v in (found, plain)]
    assert repr(joint[0]) == repr(joint[1])
    assert {c.over for c in joint[0]} == {len(NUMBERS)}
    assert any(arms[0] in note and "(600 = 1 GFLOPs)" in note for note in found.notes)
    assert len(found.comparisons) > len(plain.comparisons)


def test_another_network_at_a_further_budget_counts(contents: dict[str, SweepContent]) -> None:
    found = repeated(contents["numbers"], ())
    assert {c.over for c in found.comparisons if c.over > 1 and isinstance(c.measure, Metric)} == {len(NUMBERS) + 1}
    assert not any("several budgets" in note for note in found.notes)
