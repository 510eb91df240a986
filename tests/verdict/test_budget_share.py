"""The share of a budget that a network uses, and the line on those that use little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.verdict.budget_share import Use, budget_share, share_text, unused_note


@given(budget=st.integers(1, 10**7), data=st.data())
def test_who_is_told_of_is_shown_below_the_limit_and_nobody_else(budget: int, data: st.DataObject) -> None:
    parameters = data.draw(st.integers(1, budget))
    share = budget_share(parameters, budget)
    note = unused_note([Use("arm", parameters, budget)])
    assert share is not None
    assert (note is not None) == (100 * parameters < 95 * budget) == (float(share_text(share).split()[0]) < 95)
    assert note is None or f"arm at {budget:,} (has {parameters:,}, {share_text(share)})" in note


@pytest.mark.parametrize(("parameters", "budget"), [(None, 100), (100, None), (0, 100), (None, None)])
def test_what_is_not_known_has_no_share(parameters: int | None, budget: int | None) -> None:
    assert budget_share(parameters, budget) is None
    assert share_text(None) == "–"
    assert unused_note([Use("arm", parameters, budget)]) is None


def test_the_paper_s_operator_at_934_is_told_of() -> None:
    assert unused_note([Use("full_rank", 762, 934), Use("standard", 934, 934)]) == (
        "Less than 95 % of the budget is used by full_rank at 934 (has 762, 81.5 %)."
    )


def test_many_are_counted() -> None:
    note = unused_note(Use(f"arm{i}", 1, 10) for i in range(11))
    assert note is not None
    assert note.endswith("arm7 at 10 (has 1, 10.0 %) and 3 more.")
