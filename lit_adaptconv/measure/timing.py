"""The one timer: calls take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

TURN_SECONDS = 0.005
"""How long a turn lasts, by default."""


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
    again: int = 0,
) -> list[Times]:
    """Time tasks alternately with PyTorch's timer, which warms up in every turn and waits for the device.

    Args:
        tasks: What to time.
        rounds: Turns of each task, at the least.
        advance: Called after every turn.
        seconds: How long rounds go on; 0: until there are enough.
        turn: A turn repeats what takes less than this until it lasts about so long.
        again: How often a turn is taken again in which the system gave a core to another process. Short turns are over
            before that, most of them.
    """
    from torch.utils.benchmark import Timer  # it looks for a compiler when it is imported

    timers = [Timer("call()", globals={"call": task.call}, num_threads=task.threads) for task in tasks]
    numbers = [max(1, round(turn / timer.timeit(1).median)) for timer in timers]
    taken: list[list[float]] = [[] for _ in tasks]
    end = time.perf_counter() + seconds
    while len(taken[0]) < rounds or time.perf_counter() < end:
        for timer, number, values in zip(timers, numbers, taken, strict=True):
            for _ in range(1 + again):
                before = _interruptions()
                taken_now = timer.timeit(number).median
                if _interruptions() == before:
                    break
            values.append(taken_now)
            advance()
    return [Times(tuple(values)) for values in taken]


def _interruptions() -> int:
    """How often the system has taken a core from this process; 0 where it does not tell."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
