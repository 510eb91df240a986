"""The numbers that the documentation quotes are those of the tables beside it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from report_cases import made_up_sweep, made_up_tuning

from benchmarks import results
from benchmarks.facts import Facts
from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.store import read_curves, read_results
from lit_adaptconv.verdict.numbers import minus

ROOT = Path(__file__).parent.parent
PAGES = list(results.pages())
KEPT = sorted(path.parent for path in results.FOLDER.glob("*/sweep.json"))
NUMBER = re.compile(r"[+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?")


def agrees(text: str, other: str) -> bool:
    """Whether two texts have the same words, and numbers that differ by at most one unit of their last digit.

    Processors add and multiply in different orders, so a number that falls between two roundings is rounded up on one
    machine and down on another. A number without a decimal point is a count, which does not depend on the machine.
    """
    ours, theirs = NUMBER.findall(text), NUMBER.findall(other)
    if NUMBER.split(text) != NUMBER.split(other):
        return False
    return all(_close(a, b) for a, b in zip(ours, theirs, strict=True))


def _close(number: str, other: str) -> bool:
    a, b = (Decimal(text.replace(",", "").replace("−", "-")) for text in (number, other))
    places = [int(value.as_tuple().exponent) for value in (a, b)]
    # The finer of the two: 9.99 and 10.0, 0.999 and 1.00 are neighbours.
    return a == b or (min(places) < 0 and abs(a - b) <= Decimal(1).scaleb(min(places)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_text_agrees_with_the_tables(page: Path) -> None:
    for quote in results.QUOTE.finditer(page.read_text()):
        assert agrees(quote["answer"], results.answer(quote["question"])), "run `make results`"


@pytest.mark.parametrize("page", sorted(results.FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_every_percentage_on_a_page_of_results_is_a_quotation(page: Path) -> None:
    own = results.QUOTE.sub("", page.read_text())
    assert set(re.findall(r"\d+\.\d+ %", own)) <= {"0.2 %", "93.57 %", "95.3 %", "99.03 %", "99.13 %"}  # others' claims


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_quotation_within_a_sentence_does_not_begin_a_line(page: Path) -> None:
    # There Markdown would take it for a block of HTML and end the sentence.
    for found in results.QUOTE.finditer(page.read_text()):
        begins = re.search(r"(^|\n) *$", page.read_text()[: found.start()]) is not None
        assert begins == found["answer"].startswith("\n"), found["question"]


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_what_is_kept_is_a_complete_sweep_that_a_plan_repeats(folder: Path) -> None:
    rows = read_results(folder).to_pylist()
    assert {row["status"] for row in rows} <= {"done", "diverged"}
    assert len({(row["arm"], row["budget"], row["seed"]) for row in rows}) == len(rows)
    assert all(row["budget"] is None or row["parameters"] <= row["budget"] for row in rows)
    assert (ROOT / "configs" / "sweeps" / f"{folder.name}.yaml").exists()
    last = read_curves(folder).to_pandas().sort_values("step").groupby("trial")["val_metric"].last()
    assert all(abs(last[row["trial"]] - row["val_metric"]) < 1e-6 for row in rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    made_up_sweep(path, seeds=8, targets=(0.8,), failures=False)
    return path


def test_facts_are_those_of_the_rows(folder: Path) -> None:
    facts = Facts(folder)
    content = facts._content
    budgets = [str(b) for b in content.budgets]
    frame = content.results.to_pandas()

    def accuracies(arm: str, budget: str) -> np.ndarray:
        mine = frame[(frame["arm"] == arm) & (frame["budget"] == int(budget))].sort_values("pair")
        return mine["test_metric"].to_numpy()

    arm, budget = "low_rank", budgets[0]
    values = accuracies(arm, budget)
    assert facts.ask(f"accuracy {arm} {budget}") == f"{100 * values.mean():.2f} % ± {100 * values.std(ddof=1):.2f}"
    middle = float(np.sort(values)[3])
    assert facts.ask(f"share {arm} {budget} {middle}") == f"{(values >= middle).sum()} of 8"
    gap = values - accuracies("standard", budgets[1])
    assert facts.ask(f"across {arm} {budget} standard {budgets[1]}").startswith(
        minus(f"{100 * gap.mean():+.2f} points (")
    )
    forth, back = (facts.ask(f"difference {a} {budget} {b}") for a, b in ((arm, "adaptive"), ("adaptive", arm)))
    assert forth.split()[0].lstrip("+−") == back.split()[0].lstrip("+−")
    assert (forth[0], back[0]) in {("+", "−"), ("−", "+")}


def test_the_mean_stands_within_its_interval(folder: Path) -> None:
    facts = Facts(folder)
    budget = str(facts._content.budgets[0])
    frame = facts._content.results.to_pandas()
    values = 100 * frame[(frame["arm"] == "low_rank") & (frame["budget"] == int(budget))]["test_metric"].to_numpy()
    found = re.fullmatch(r"(\S+) % \((\S+) to (\S+), n = 8\)", facts.ask(f"mean low_rank {budget}"))
    assert found
    mean, low, high = map(float, found.groups())
    assert mean == pytest.approx(values.mean(), abs=0.006)
    # Near Student's interval, which is another formula for the same thing.
    expected = scipy.stats.t.interval(0.95, 7, values.mean(), scipy.stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=0.3 * (expected[1] - expected[0]))


def test_the_validation_accuracies_are_the_curves_last(folder: Path) -> None:
    answer = Facts(folder).ask("validations 600")
    curves = pq.read_table(folder / "curves.parquet").to_pandas()
    ends = curves[curves["budget"] == 600].sort_values("step").groupby(["arm", "pair"])["val_metric"].last()
    for arm, mean in ends.groupby("arm").mean().items():
        assert f"{100 * mean:.2f} %" in next(line for line in answer.splitlines() if arm in line.replace("\\", ""))


def test_choosing_the_best_evaluation_is_worth_what_it_has_more_than_the_last(folder: Path) -> None:
    facts = Facts(folder)
    curves = pq.read_table(folder / "curves.parquet").to_pandas()
    for arm, budget in (("standard", 600), ("low_rank", 600)):
        mine = curves[(curves["arm"] == arm) & (curves["budget"] == budget)].sort_values("step")
        gains = [
            100 * (values.max() - values[-1])
            for _, values in ((pair, one["val_metric"].to_numpy()) for pair, one in mine.groupby("pair"))
        ]
        shown = f"{np.mean(gains):+.2f} points ± {np.std(gains, ddof=1):.2f}"
        assert agrees(facts.ask(f"choosing {arm} {budget}"), shown)


def test_a_target_that_no_trial_of_a_pair_reached_has_no_ratio(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, seeds=6, targets=(0.9999,), failures=False)
    assert "not reached" in Facts(tmp_path).ask("speeds 0.9999")


def test_the_ratios_of_a_budget_are_those_of_its_measures(folder: Path) -> None:
    facts = Facts(folder)
    head, _, *rows = (line.strip("| ").split(" | ") for line in facts.ask("ratios 600 0.8").strip().splitlines())
    assert head == ["Arm", "steps to 80 %", "training FLOPs to 80 %", "seconds to 80 %"]
    assert {row[0].replace("\\", "") for row in rows} == set(facts._arms) - {"standard"}
    for arm, *cells in rows:
        asked = [f"speed {arm} 600 0.8 {measure}".replace("\\", "") for measure in ("steps", "flops", "seconds")]
        assert cells == [facts.ask(question) for question in asked]


def test_a_ratio_names_the_trials_that_are_cut_off(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, seeds=8, targets=(0.8, 0.95), failures=False)
    facts = Facts(tmp_path)
    comparisons = facts._verdict().comparisons
    seen = set()
    for budget in (300, 600, 1200):
        (c,) = [
            c
            for c in comparisons
            if (c.arm, c.budget, c.measure, c.target) == ("low_rank", budget, "steps", 0.95) and c.over == 1
        ]
        answer = facts.ask(f"speed low_rank {budget} 0.95 steps")
        assert answer == "not reached" or f"n = 8{f', {c.n_cut} cut off' if c.n_cut else ''}, p" in answer
        assert "cut off" not in facts.ask(f"speed low_rank {budget} 0.8 steps")
        seen.add(c.n_cut)
    assert len(seen) > 1


def test_an_unknown_question_is_an_error(folder: Path) -> None:
    for question in ("accuracies_of x", "average low_rank 500", "_accuracy low_rank 500"):
        with pytest.raises(KeyError, match="no fact is called"):
            Facts(folder).ask(question)


@pytest.mark.parametrize(
    "question",
    [
        "mnist_ablation nothing low_rank 2500",
        "mnist_ablation accuracy no_such_arm 2500",
        "mnist_ablation accuracy low_rank 2501",
        "mnist_ablation accuracy low_rank",
        "mnist_ablation share low_rank 2500 many",
        "mnist_ablation speed low_rank 2500 0.5 steps",
        "mnist_ablation difference low_rank 2500 no_such_arm",
        "mnist_ablation across no_such_arm 2500 standard 2500",
        "no_such_sweep accuracy low_rank 2500",
    ],
)
def test_a_page_that_asks_what_no_table_knows_is_told_so(question: str) -> None:
    with pytest.raises(UserError):
        results.answer(question)


def test_a_changed_number_is_put_right() -> None:
    page = next(page for page in PAGES if "=mnist_ablation accuracy" in page.read_text())
    text = page.read_text()
    wrong = re.sub(r"(accuracy standard 2500 -->)\d", r"\g<1>5", text)
    assert wrong != text
    assert agrees(results.regenerated(wrong), text)


@given(st.floats(-1e4, 1e4), st.integers(1, 4), st.floats(-0.5, 0.5))
def test_a_number_between_two_roundings_agrees_however_it_was_rounded(value: float, places: int, part: float) -> None:
    # Two machines differ by far less than a unit of the last digit, and may round to either side of it.
    unit = 10.0**-places
    text, near, far = (minus(f"{v:+,.{places}f} points") for v in (value, value + part * unit, value + 2.5 * unit))
    assert agrees(text, near)
    assert not agrees(text, far)


@pytest.mark.parametrize(
    ("text", "other", "agree"),
    [
        ("99.06 % (98.99 to 99.10, n = 10)", "99.06 % (99.00 to 99.10, n = 10)", True),
        ("99.06 % (98.98 to 99.10, n = 10)", "99.06 % (99.00 to 99.10, n = 10)", False),
        ("× 0.999 (p = 1.2e-05)", "× 1.00 (p = 1.3e-05)", True),
        ("× 9.99", "× 10.0", True),
        ("p = 0.99", "p = 1", True),
        ("p = 0.2", "p = 1", False),
        ("n = 10", "n = 11", False),
        ("1,482 parameters", "1,483 parameters", False),
        ("−0.00 points", "+0.00 points", True),
        ("-0.04 points", "−0.04 points", False),
        ("+0.01 points", "−0.01 points", False),
        ("p = 0.05; better", "p = 0.05; undecided", False),
        ("1.0, 2.0", "1.0", False),
    ],
)
def test_texts_are_compared_by_their_numbers(text: str, other: str, agree: bool) -> None:
    assert agrees(text, other) is agree
    assert agrees(other, text) is agree


def test_an_arm_that_was_not_trained_at_a_budget_is_a_dash_in_tables(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, seeds=6, targets=(0.8,), failures=False)
    table = pq.read_table(tmp_path / "results.parquet")
    gone = [row["arm"] == "adaptive" and row["budget"] == 300 for row in table.to_pylist()]
    pq.write_table(table.filter([not g for g in gone]), tmp_path / "results.parquet")
    facts = Facts(tmp_path)
    (line,) = [line for line in facts.ask("accuracies 0.8").splitlines() if line.startswith("| adaptive")]
    assert line.startswith("| adaptive | – | – | – | ")
    assert "adaptive |" not in facts.ask("differences 300")
    assert "adaptive |" not in facts.ask("medians 0.8 300")
    assert "adaptive |" in facts.ask("differences 600")


def test_only_a_finished_sweep_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "kept")
    made_up_sweep(tmp_path / "failed", seeds=6, targets=(0.8,))
    with pytest.raises(UserError, match="only a finished sweep is kept"):
        results.keep(tmp_path / "failed")
    assert not (tmp_path / "kept").exists()


def test_a_trial_that_diverged_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(results, "draw", lambda figures, width: {})
    made_up_sweep(tmp_path / "sweep", seeds=6, targets=(0.8,))
    table = pq.read_table(tmp_path / "sweep" / "results.parquet")
    statuses = ["diverged" if status == "failed" else status for status in table["status"].to_pylist()]
    assert statuses.count("diverged") == 2
    place = table.schema.get_field_index("status")
    pq.write_table(
        table.set_column(place, table.schema.field(place), [statuses]), tmp_path / "sweep" / "results.parquet"
    )
    facts = Facts(results.keep(tmp_path / "sweep"))
    values = [row["test_metric"] for row in table.to_pylist() if (row["arm"], row["budget"]) == ("adaptive", 300)]
    left = [100 * value for value in values if value is not None and np.isfinite(value)]
    assert len(left) == 4
    expected = f"{np.mean(left):.2f} % ± {np.std(left, ddof=1):.2f} (2 of 6 diverged)"
    assert facts.ask("accuracy adaptive 300") == expected
    assert facts.ask("share adaptive 300 0") == "4 of 6"


def test_what_tuning_tried_is_kept_and_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(results, "draw", lambda figures, width: {})
    made_up_sweep(tmp_path / "sweep", seeds=6, targets=(0.8,), failures=False)
    with pytest.raises(KeyError, match="not tuned"):
        Facts(results.keep(tmp_path / "sweep")).ask("tried 300")
    tried = made_up_tuning(tmp_path / "sweep")
    table = Facts(results.keep(tmp_path / "sweep")).ask("tried 300").strip().splitlines()
    for number, line in enumerate(table[2:]):
        means = [f"{100 * np.mean(tried[arm, 300][number]):.2f} %" for arm in ("standard", "low_rank")]
        assert line == f"| lr {number + 1} | {' | '.join(means)} | – |"
    assert len(table) == 2 + 4
