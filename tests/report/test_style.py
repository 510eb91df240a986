from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.report.drawing import Drawing
from lit_adaptconv.report.style import COLOURS, SYMBOLS, arm_styles, label_ends, plain, spread_apart

VALUES = st.lists(st.integers(0, 30).map(float), max_size=8)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#181b1f"])
def test_every_colour_stands_out_from_a_light_and_from_a_dark_page(ground: str) -> None:
    for colour in COLOURS:
        low, high = sorted([luminance(colour), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_arms_with_the_same_colour_differ_in_their_dash() -> None:
    styles = arm_styles([f"arm {i}" for i in range(3 * len(COLOURS))]).values()
    assert len({(s.colour, s.line()["dash"]) for s in styles}) == len(styles)
    assert len(SYMBOLS) == len(COLOURS)


@given(VALUES, st.sampled_from([0.5, 1.0, 3.0]))
def test_labels_are_moved_apart_and_keep_their_order(values: list[float], gap: float) -> None:
    moved = spread_apart(values, gap)
    order = sorted(range(len(values)), key=lambda i: moved[i])
    assert [values[i] for i in order] == sorted(values)
    assert all(moved[b] - moved[a] >= gap - 1e-9 for a, b in pairwise(order))
    assert sum(moved) == pytest.approx(sum(values))  # what is pushed up is pushed down elsewhere


@given(VALUES, st.sampled_from([0.5, 1.0, 3.0]))
def test_labels_stay_on_the_axis(values: list[float], gap: float) -> None:
    low, high = 2.0, 7.0
    moved = spread_apart(values, gap, low, high)
    order = sorted(range(len(values)), key=lambda i: moved[i])
    assert [values[i] for i in order] == sorted(values)
    assert all(low <= place <= high for place in moved)
    room = (high - low) / max(len(values) - 1, 1)
    assert all(moved[b] - moved[a] >= min(gap, room) - 1e-9 for a, b in pairwise(order))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(-100, 100), st.floats(1e-3, 100))
def test_every_arms_name_is_within_the_axis_and_so_drawn(ends: list[float], low: float, length: float) -> None:
    made = Drawing("ends", {}, {})
    styles = arm_styles([f"arm {i}" for i in range(len(ends))]).values()
    label_ends(made, [(style, low + length * end) for style, end in zip(styles, ends, strict=True)], low, low + length)
    names, (bottom, top) = made.layout["annotations"], made.layout["yaxis"]["range"]
    assert len(names) == len(ends)
    assert all(bottom <= name["y"] <= top for name in names)


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread_apart([5.0, 1.0, 9.0], 2.0) == [5, 1, 9]


def test_a_name_is_no_markup_and_stays_on_one_line() -> None:
    assert plain("<b>a\n & b</b>") == "&lt;b&gt;a &amp; b&lt;/b&gt;"
    assert plain("x" * 30) == "x" * 23 + "…"
