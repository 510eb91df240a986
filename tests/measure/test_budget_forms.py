"""Budgets as plans, files, tables and people have them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.measure.budget import (
    UNITS,
    Budget,
    Limits,
    from_columns,
    in_order,
    limits_of,
    limits_text,
    plain_limits,
    to_columns,
)
from lit_adaptconv.records import record

PREFIX = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
WHOLE = st.one_of(
    st.integers(1, 10**6),
    st.integers(1, 10**13),
    st.tuples(st.integers(1, 99_999), st.integers(0, 12)).map(lambda x: x[0] * 10 ** x[1]),
)
GIVEN = st.one_of(
    WHOLE,
    st.builds(
        lambda limits, dtype: {**limits, **({} if dtype is None else {"dtype": dtype})},
        st.dictionaries(st.sampled_from([*UNITS]), st.one_of(WHOLE, WHOLE.map(float)), min_size=1),
        st.sampled_from([None, "float32", "float16"]),
    ),
)
BUDGETS = GIVEN.map(limits_of)


@dataclasses.dataclass(frozen=True)
class Row:
    """A record of a file that holds a budget."""

    budget: Limits | None


def read(text: str) -> dict[str, int]:
    """The limits of a budget's text, by their units."""
    found = {}
    for number, unit in re.findall(r"(\d[\d.,]*) ([a-zA-Z]+)(?=,| and |$)", re.sub(r" in \w+$", "", text)):
        prefix, name = re.fullmatch(r"([kMGT]?)(parameters|FLOPs|bytes|B)", unit).groups()  # type: ignore[union-attr]
        key = "bytes" if name == "B" else {value: key for key, value in UNITS.items()}[name]
        found[key] = round(float(number.replace(",", "")) * PREFIX[prefix])
    return found


@given(BUDGETS)
def test_a_budget_comes_back_from_every_form(budget: Limits) -> None:
    assert limits_of(plain_limits(budget)) == budget  # type: ignore[arg-type]
    assert limits_of(json.loads(json.dumps(plain_limits(budget)))) == budget
    assert from_columns(to_columns(budget)) == budget
    row = record(Row, json.loads(json.dumps(dataclasses.asdict(Row(budget)))))
    assert row == Row(budget)
    assert hash(row) == hash(Row(budget))
    assert from_columns(to_columns(None)) is None


@given(BUDGETS)
def test_its_text_says_all_of_it(budget: Limits) -> None:
    assert read(str(Budget.of(budget))) == Budget.of(budget).limits
    assert isinstance(budget, Budget) or limits_text(budget) == f"{budget:,}"


@given(st.lists(BUDGETS, max_size=6))
def test_different_budgets_differ_in_text_and_in_the_names_of_files(budgets: list[Limits]) -> None:
    different = set(budgets)
    assert len({limits_text(budget) for budget in different}) == len(different)
    keys = {Budget.of(budget).key for budget in different}
    assert len(keys) == len(different)
    assert all(re.fullmatch(r"[\w-]+", key) for key in keys)


@given(st.lists(st.one_of(st.none(), BUDGETS), max_size=6))
def test_budgets_stand_in_one_order(budgets: list[Limits | None]) -> None:
    found = in_order(budgets)
    assert set(found) == set(budgets)
    assert len(found) == len(set(budgets))
    assert found == in_order(reversed(budgets))
    assert None not in found[:-1]
    numbers = [budget for budget in found if isinstance(budget, int)]
    assert numbers == sorted(numbers)
    for one, other in itertools.combinations([Budget.of(budget) for budget in found if budget is not None], 2):
        if one.limits.keys() == other.limits.keys() and all(one.limits[n] >= other.limits[n] for n in one.limits):
            assert one.limits == other.limits, "the tighter comes first"


@given(GIVEN)
def test_equal_budgets_are_one_however_they_are_written(budget: object) -> None:
    found = limits_of(budget)  # type: ignore[arg-type]
    assert limits_of(found) == found
    assert limits_of(Budget.of(budget)) == found  # type: ignore[arg-type]
    if isinstance(budget, dict) and "bytes" not in budget:
        assert limits_of({**budget, "dtype": "bfloat16"}) == found  # a type of no bytes says nothing
    alone = isinstance(budget, dict) and budget.keys() - {"dtype"} == {"parameters"}
    assert isinstance(found, int) == (isinstance(budget, int) or alone)


def test_people_read_round_numbers() -> None:
    written: dict[Limits, str] = {
        5_000: "5,000 parameters",
        Budget(parameters=5_000, flops=2e6): "5,000 parameters and 2 MFLOPs",
        Budget(flops=2_500_000, bytes=20_000): "2.5 MFLOPs and 20 kB",
        Budget(5_000, 1.25e9, 20_481): "5,000 parameters, 1.25 GFLOPs and 20,481 bytes",
        Budget(bytes=999, dtype="float16"): "999 bytes in float16",
        Budget(flops=1_234_567): "1,234,567 FLOPs",
    }
    assert {budget: str(Budget.of(budget)) for budget in written} == written
