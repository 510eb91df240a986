"""The share of a budget that a network uses, and the line on those that use little."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.measure.budget import UNITS, Budget, Limits
from lit_adaptconv.verdict.budget_share import budget_share, repeated_note, share_text, unused_note


@given(budget=st.integers(1, 10**7), data=st.data())
def test_who_is_told_of_is_shown_below_the_limit_and_nobody_else(budget: int, data: st.DataObject) -> None:
    parameters = data.draw(st.integers(1, budget))
    sizes = {"parameters": parameters, "flops": 3}
    note, text = unused_note([("arm", budget, sizes)]), share_text(budget, sizes)
    assert budget_share(budget, sizes) == parameters / budget
    assert (note is not None) == (100 * parameters < 95 * budget) == (float(text.removesuffix(" %")) < 95)
    assert note is None or f"arm at {budget:,} (has {parameters:,}, {text})" in note


@given(
    limits=st.dictionaries(st.sampled_from([*UNITS]), st.integers(1, 10**7), min_size=1),
    uses=st.fixed_dictionaries({name: st.floats(0.01, 1) for name in UNITS}),
)
def test_of_several_limits_the_nearest_says_how_much_of_the_budget_is_used(
    limits: dict[str, int], uses: dict[str, float]
) -> None:
    sizes = {name: max(1, int(limits.get(name, 9) * use)) for name, use in uses.items()}
    budget = Budget.of(limits)
    shares = {name: sizes[name] / limit for name, limit in limits.items()}
    assert budget_share(budget, sizes) == max(shares.values())
    told = re.findall(r"([\d.]+) % of (\w+)", share_text(budget, sizes))
    assert {unit for _, unit in told} == {UNITS[name] for name in limits}
    for share, unit in told:
        (name,) = (name for name in UNITS if UNITS[name] == unit)
        assert float(share) == pytest.approx(100 * shares[name], abs=0.1)
    note = unused_note([("arm", budget, sizes)])
    assert (note is None) == (max(shares.values()) >= 0.95)
    assert note is None or f"arm at {budget} (has " in note


@pytest.mark.parametrize(("parameters", "budget"), [(None, 100), (100, None), (0, 100), (None, None)])
def test_what_is_not_known_has_no_share(parameters: int | None, budget: int | None) -> None:
    sizes = {"parameters": parameters}
    assert budget_share(budget, sizes) is None
    assert share_text(budget, sizes) == "–"
    assert unused_note([("arm", budget, sizes)]) is None


def test_the_paper_s_operator_at_934_is_told_of() -> None:
    assert unused_note([("full_rank", 934, {"parameters": 762}), ("standard", 934, {"parameters": 934})]) == (
        "Less than 95 % of the budget is used by full_rank at 934 (has 762, 81.5 %)."
    )


def test_a_network_below_two_limits_is_told_of_with_the_nearer_one() -> None:
    budget = Budget(parameters=5_000, flops=2_000_000)
    assert unused_note([("wide", budget, {"parameters": 1_000, "flops": 1_800_000})]) == (
        "Less than 95 % of the budget is used by wide at 5,000 parameters and 2 MFLOPs (has 1,800,000 FLOPs, 90.0 %)."
    )


def test_a_network_that_stands_at_several_budgets_is_told_of() -> None:
    compound = Budget(parameters=900, flops=10**9)
    places: list[tuple[str, Limits | None, object]] = [
        ("a", 900, (1, 2)),
        ("a", compound, (1, 2)),
        ("b", 900, (1, 3)),
        ("b", compound, (1, 2)),
        ("c", 9, None),
    ]
    assert repeated_note([*places, ("c", 8, None)]) == (
        "The same network stands at several budgets, and counts once where they are taken together: "
        "a (900 = 900 parameters and 1 GFLOPs)."
    )
    assert repeated_note(places[2:]) is None


def test_many_are_counted() -> None:
    note = unused_note((f"arm{i}", 10, {"parameters": 1}) for i in range(11))
    assert note is not None
    assert note.endswith("arm7 at 10 (has 1, 10.0 %) and 3 more.")
