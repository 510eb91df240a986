"""The one timer: calls take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

TURN_SECONDS = 0.005
"""How long a turn lasts, by default."""
_COUNTERS = Path("/proc/thread-self/schedstat")
"""Of the thread that opens it, on Linux: its nanoseconds on a core, and waiting for one; how often it was given one."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Compute them."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)


@dataclass(frozen=True)
class Times:
    """Seconds of one call, one value a round.

    Attributes:
        seconds: In the order of the rounds.
    """

    seconds: tuple[float, ...]

    @property
    def spread(self) -> Spread:
        """Median and quartiles."""
        return Spread.of(self.seconds)

    def over(self, other: Times) -> Spread:
        """The ratio of these times to others of the same rounds."""
        return Spread.of([mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)])


@dataclass(frozen=True)
class Task:
    """What is timed, on how many CPU threads; by default on as many as PyTorch uses."""

    call: Callable[[], object]
    threads: int = field(default_factory=torch.get_num_threads)


def in_turns(
    tasks: Sequence[Task],
    rounds: int = 5,
    advance: Callable[[], None] = lambda: None,
    seconds: float = 0.0,
    turn: float = TURN_SECONDS,
    core: bool = False,
) -> list[Times]:
    """Time tasks alternately with PyTorch's timer, which warms up in every turn and waits for the device.

    Args:
        tasks: What to time.
        rounds: Turns of each task, at the least.
        advance: Called after every turn.
        seconds: How long rounds go on; 0: until there are enough.
        turn: A turn repeats what takes less than this until it lasts about so long.
        core: Whether the time is left out in which a task waits for a core that the system has given to another
            process: for tasks on the CPU; it is not left out of those of several threads, see `core_clock`.
    """
    from torch.utils import benchmark  # it looks for a compiler when it is imported

    taken: list[list[float]] = [[] for _ in tasks]
    with core_clock() as clock:
        timers = []
        for task in tasks:
            own = clock if core and task.threads == 1 else benchmark.timer
            timers.append(benchmark.Timer("call()", timer=own, globals={"call": task.call}, num_threads=task.threads))
        numbers = [max(1, round(turn / timer.timeit(1).median)) for timer in timers]
        end = time.perf_counter() + seconds
        while len(taken[0]) < rounds or time.perf_counter() < end:
            for timer, number, values in zip(timers, numbers, taken, strict=True):
                values.append(timer.timeit(number).median)
                advance()
    return [Times(tuple(values)) for values in taken]


@contextlib.contextmanager
def core_clock() -> Iterator[Callable[[], float]]:
    """Give a clock of seconds that stands still while the calling thread waits for a core; it does so on Linux alone.

    A thread of others that computes while this one waits would be timed too short.
    """
    try:
        counters = _COUNTERS.open("rb", buffering=0)
    except OSError:
        yield time.perf_counter
        return
    with counters:

        def waited() -> int:
            """Nanoseconds."""
            return int(os.pread(counters.fileno(), 100, 0).split()[1])

        def clock() -> float:
            while True:
                before = waited()
                now = time.perf_counter()
                if waited() == before:  # else it has waited just now, before or after
                    return now - 1e-9 * before

        yield clock
