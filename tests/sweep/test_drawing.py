"""The values that tuning tries."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from lit_adaptconv.sweep.drawing import draw, edge
from lit_adaptconv.sweep.plan import Search

WORDS = st.none() | st.booleans() | st.text("abc", max_size=3) | st.integers(-5, 5) | st.floats(-1, 1).map(float)


@st.composite
def ranges(take: Any) -> Search:
    """A range of real or whole numbers, perhaps on a logarithmic scale."""
    log = take(st.booleans())
    if take(st.booleans()):
        low = take(st.integers(1, 20) if log else st.integers(-20, 20))
        return Search(low, low + take(st.integers(1, 40)), log)
    low = take(st.floats(1e-6, 10.0) if log else st.floats(-10.0, 10.0))
    return Search(low, low + take(st.floats(0.1, 100.0)), log)


choices = st.lists(WORDS, min_size=1, max_size=6, unique_by=lambda word: (type(word), word)).map(
    lambda words: Search(choices=words)
)
names = st.text("abcdef", min_size=1, max_size=4)
spaces = st.dictionaries(names, ranges() | choices, min_size=1, max_size=4)
grids = st.dictionaries(names, choices, min_size=1, max_size=4)


@given(space=spaces, few=st.integers(1, 12), more=st.integers(0, 12))
def test_more_values_begin_with_the_same_and_no_order_of_the_names_changes_them(
    space: dict[str, Search], few: int, more: int
) -> None:
    longer = draw(space, few + more)
    assert draw(space, few) == longer[:few]
    assert draw(dict(reversed(space.items())), few + more) == longer


@given(space=spaces, trials=st.integers(1, 20))
def test_all_values_differ_lie_in_the_space_and_are_as_many_as_there_can_be(
    space: dict[str, Search], trials: int
) -> None:
    drawn = draw(space, trials)
    assert len({json.dumps(values) for values in drawn}) == len(drawn)
    whole = [s for s in space.values() if s.choices is not None or isinstance(s.low, int)]
    there_are = math.prod(len(s.choices) if s.choices is not None else s.high - s.low + 1 for s in whole)  # type: ignore[operator]
    assert len(drawn) == (min(trials, int(there_are)) if len(whole) == len(space) else trials)
    for values in drawn:
        assert values.keys() == space.keys()
        for name, search in space.items():
            if search.choices is not None:
                assert any(values[name] is each or values[name] == each for each in search.choices)
            else:
                assert search.low is not None
                assert search.high is not None
                assert search.low <= values[name] <= search.high
                assert isinstance(values[name], int if isinstance(search.low, int) else float)


@given(space=grids)
def test_without_a_number_of_trials_choices_are_tried_in_all_combinations(space: dict[str, Search]) -> None:
    every = [dict(zip(space, values, strict=True)) for values in product(*(s.choices or [] for s in space.values()))]
    assert Counter(json.dumps(values, sort_keys=True) for values in draw(space, None)) == Counter(
        json.dumps(values, sort_keys=True) for values in every
    )
    assert draw(space, len(every) + 5) == draw(space, None)


real = ranges().filter(lambda search: isinstance(search.low, float))


@given(space=st.dictionaries(names, real | choices, min_size=1, max_size=4))
def test_at_any_time_each_choice_was_drawn_as_often_as_the_others_or_once_more(space: dict[str, Search]) -> None:
    drawn = draw(space, 40)
    for name, search in space.items():
        if search.choices is not None:
            for n in range(len(drawn) + 1):
                counts = Counter(json.dumps(values[name]) for values in drawn[:n])
                times = [counts[json.dumps(choice)] for choice in search.choices]
                assert max(times) - min(times) <= 1


def shares(drawn: list[dict[str, Any]], space: dict[str, Search]) -> np.ndarray[Any, Any]:
    """Where in its range each value lies, from 0 to 1."""
    columns = []
    for name, search in sorted(space.items()):
        scale = np.log if search.log else np.asarray
        low, high, values = (scale(x) for x in (search.low, search.high, [v[name] for v in drawn]))
        columns.append((values - low) / (high - low))
    return np.array(columns).T


@pytest.mark.parametrize("n", range(1, 33))
def test_the_values_of_one_range_leave_no_gap(n: int) -> None:
    space = {"optimizer.lr": Search(0.001, 0.1, log=True)}
    placed = sorted(shares(draw(space, n), space)[:, 0])
    assert max(np.diff([0, *placed, 1])) <= 2 / (n + 1) + 1e-4


@pytest.mark.parametrize("n", range(1, 11))
def test_up_to_ten_values_of_one_range_lie_each_in_a_part_of_its_own(n: int) -> None:
    space = {"a": Search(0.0, 1.0)}
    assert sorted(np.floor(shares(draw(space, n), space)[:, 0] * n + 1e-5)) == [*range(n)]


@pytest.mark.parametrize("n", [3, 7, 15, 31])
def test_seven_or_fifteen_values_of_one_range_part_it_evenly(n: int) -> None:
    space = {"a": Search(0.0, 1.0)}
    np.testing.assert_allclose(sorted(shares(draw(space, n), space)[:, 0]), np.arange(1, n + 1) / (n + 1), atol=1e-6)


@pytest.mark.parametrize("ranges", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("n", [5, 7, 8, 12, 16, 32])
def test_several_ranges_are_filled_far_more_evenly_than_at_random(ranges: int, n: int) -> None:
    space = {f"x{i}": Search(0.0, 1.0) for i in range(ranges)}
    at_random = [qmc.discrepancy(np.random.default_rng(seed).random((n, ranges))) for seed in range(50)]
    assert qmc.discrepancy(shares(draw(space, n), space)) < 0.55 * np.mean(at_random)


@pytest.mark.parametrize("of", [[32, 64], [1, 2, 3], ["a", "b", "c", "d"], [True, False]])
def test_every_choice_meets_every_part_of_a_range(of: list[Any]) -> None:
    space = {"rate": Search(0.001, 1.0, log=True), "other": Search(choices=of)}
    drawn = draw(space, 12 * len(of))
    for choice in of:
        placed = sorted(shares([v for v in drawn if v["other"] == choice], {"rate": space["rate"]})[:, 0])
        assert max(np.diff([0, *placed, 1])) < 0.25


def test_the_values_are_these_on_every_machine() -> None:
    space = {"optimizer.lr": Search(0.006, 0.1, log=True), "data.batch_size": Search(choices=[32, 64])}
    assert draw(space, 3) == [
        {"data.batch_size": 32, "optimizer.lr": 0.0153262},
        {"data.batch_size": 64, "optimizer.lr": 0.0391487},
        {"data.batch_size": 32, "optimizer.lr": 0.00820186},
    ]


def test_a_range_as_narrow_as_rounding_ends() -> None:
    assert len(draw({"a": Search(1.0, math.nextafter(1.0, 2.0))}, 5)) <= 2


@given(tried=st.lists(st.floats(-9, 9) | st.integers(-9, 9), min_size=1, max_size=8), place=st.integers(0, 7))
def test_the_smallest_and_the_largest_of_different_numbers_are_an_edge(tried: list[float], place: int) -> None:
    value = tried[place % len(tried)]
    said = edge(Search(-9, 9), tried, value)
    if len(set(tried)) > 1 and value == max(tried):
        assert "the largest tried from -9 to 9" in (said or "")
    elif len(set(tried)) > 1 and value == min(tried):
        assert "the smallest tried from -9 to 9" in (said or "")
    else:
        assert said is None


@pytest.mark.parametrize("of", [["a", "b"], [True, False], [None, 0.1], [0.1, "x"]])
def test_what_has_no_order_has_no_edge(of: list[Any]) -> None:
    assert edge(Search(choices=of), of, of[0]) is None


def test_the_edge_of_choices_names_them_in_order() -> None:
    tried = [64, 32, 128, 64]
    assert edge(Search(choices=tried[:3]), tried, 128) == "128, the largest tried of 32, 64, 128"
    assert edge(Search(choices=tried[:3]), tried, 64) is None
