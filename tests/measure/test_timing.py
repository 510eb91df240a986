"""Times taken in turns, and what is computed from them."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.measure.timing import Spread, Task, Times, core_clock, in_turns

SECONDS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30)


@given(SECONDS)
def test_the_spread_is_numpys_quartiles(values: list[float]) -> None:
    spread = Spread.of(values)
    np.testing.assert_allclose([spread.lower, spread.median, spread.upper], np.quantile(values, [0.25, 0.5, 0.75]))


@given(SECONDS, st.floats(0.01, 100))
def test_a_ratio_is_taken_round_by_round_so_what_slows_a_round_down_cancels(values: list[float], factor: float) -> None:
    times, slower = Times(tuple(values)), Times(tuple(factor * v for v in values))
    ratio = slower.over(times)
    np.testing.assert_allclose([ratio.lower, ratio.median, ratio.upper], factor)


def test_tasks_take_turns_on_their_own_number_of_threads() -> None:
    seen: list[tuple[str, int]] = []
    before = torch.get_num_threads()
    turns = 0

    def advance() -> None:
        nonlocal turns
        turns += 1
        seen.append(("turn", 0))

    def task(name: str) -> None:
        seen.append((name, torch.get_num_threads()))
        sum(range(200_000))  # long enough for one call a turn

    times = in_turns([Task(lambda: task("a"), 1), Task(lambda: task("b"), 3)], 4, advance)
    assert turns == 8
    assert [len(t.seconds) for t in times] == [4, 4]
    assert all(s > 0 for t in times for s in t.seconds)
    assert {t for t in seen if t[0] != "turn"} == {("a", 1), ("b", 3)}
    order = [name for (name, _), (follows, _) in itertools.pairwise(seen) if follows == "turn"]
    assert order == ["a", "b"] * 4
    assert torch.get_num_threads() == before


def test_an_error_in_what_is_timed_is_not_swallowed() -> None:
    def fail() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        in_turns([Task(fail, 1)], 1)


def test_rounds_go_on_until_the_time_is_over_and_every_task_has_as_many() -> None:
    begin = time.perf_counter()
    times = in_turns([Task(lambda: time.sleep(0.006)), Task(lambda: time.sleep(0.012))], rounds=2, seconds=0.3)
    assert time.perf_counter() - begin > 0.3
    short, long = (taken.seconds for taken in times)
    assert len(short) == len(long) >= 2
    assert min(short) > 0.006  # no call is shorter than it sleeps
    assert min(long) > 0.012


def test_what_is_short_is_repeated_within_a_turn_and_its_mean_told() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    (times,) = in_turns([Task(call)], rounds=4)
    assert calls > 2 * 4  # more often than it would be called once a turn, first tries included
    assert max(times.seconds) < 0.1


def test_by_default_as_many_threads_as_pytorch_uses() -> None:
    assert Task(lambda: None).threads == torch.get_num_threads()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("core", [False, True])
def test_what_a_task_of_one_thread_waits_for_a_core_can_be_left_out(
    core: bool, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that takes back 1,000 seconds of waiting in each call: more than any machine takes for this test."""
    counters, waited = tmp_path / "schedstat", 100_000

    def call() -> None:
        nonlocal waited
        waited -= 1000
        counters.write_text(f"7 {waited}000000000 3\n")

    counters.write_text(f"7 {waited}000000000 3\n")
    monkeypatch.setattr("lit_adaptconv.measure.timing._COUNTERS", counters)
    (times,) = in_turns([Task(call, threads)], rounds=3, turn=1e-9, core=core)
    assert [round(seconds / 1000) for seconds in times.seconds] == [1 if core and threads == 1 else 0] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a thread has waited")
def test_the_clock_of_a_core_goes_on_while_the_thread_computes_and_while_it_sleeps() -> None:
    with core_clock() as clock:
        computed, began = time.thread_time(), clock()
        sum(range(3_000_000))
        ended = clock()
        assert ended - began == pytest.approx(time.thread_time() - computed, rel=0.1)
        time.sleep(0.05)
        assert clock() - ended >= 0.05


def test_where_the_system_does_not_tell_the_clock_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_adaptconv.measure.timing._COUNTERS", tmp_path / "none")
    with core_clock() as clock:
        assert clock is time.perf_counter
