"""Times with units, and the file that holds latencies."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import (
    LATENCY,
    Latencies,
    NetworkLatency,
    RuntimeLatency,
    apart,
    read_latencies,
    seconds_of,
    shown,
)
from lit_adaptconv.measure.timing import Spread

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6}
MADE = Latencies(
    "cpu (a chip)",
    1,
    32,
    20,
    0.5,
    {"torch": "2", "onnxruntime": "1"},
    (
        NetworkLatency(
            "a",
            300,
            "standard",
            299,
            RuntimeLatency(Spread(2e-3, 1e-3, 3e-3), Spread(2e-2, 1e-2, 3e-2), None),
            RuntimeLatency(Spread(4e-3, 3e-3, 5e-3), Spread(4e-2, 3e-2, 5e-2), 4096),
            17_000,
            "",
        ),
    ),
)


@given(st.floats(1e-6, 1e6), st.sampled_from([*UNITS]), st.sampled_from(["", " "]))
def test_a_time_is_a_number_and_its_unit(value: float, unit: str, between: str) -> None:
    assert seconds_of("latency", f"{value!r}{between}{unit}") == pytest.approx(value * UNITS[unit])


@pytest.mark.parametrize(
    "text",
    [
        *("2", "", "ms", "2 m", "2min", "2MS", "-2ms", "0ms", "nanms", "infs", "1e999s", "2ms 3", "1.2.3ms", "٢ms"),
        *("2_0ms", "0x2ms", "1,5ms", "2m s", "2\tns", "1e-400s", 2, 0.5, None, True, ["2ms"]),
    ],
)
def test_what_is_no_time_is_told_with_the_units(text: object) -> None:
    with pytest.raises(UserError, match=r"^latency is a time above 0 with its unit, s, ms, us or µs, such as 2ms; got"):
        seconds_of("latency", text)


@given(st.floats(1e-7, 1e3))
@example(0.9996)
def test_a_latency_is_shown_so_that_it_can_be_read_back(seconds: float) -> None:
    text = shown(seconds).replace(",", "")
    assert "e" not in text
    assert math.isclose(seconds_of("latency", text), seconds, rel_tol=6e-3)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    MADE.write(tmp_path)
    assert read_latencies(tmp_path) == MADE


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"device": 1}', "\xff", '{"networks": [{}]}'])
def test_a_file_that_is_damaged_is_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / LATENCY).write_bytes(content.encode("latin-1"))
    assert read_latencies(tmp_path) is None


def test_latencies_that_were_not_measured_alike_are_told() -> None:
    assert apart([MADE, None, MADE]) is None
    other = apart([MADE, replace(MADE, threads=2)])
    assert other is not None
    assert "1 thread;" in other
    assert "2 threads;" in other
