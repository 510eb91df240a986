"""Times of several layers, taken in turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

from lit_adaptconv.measure.candidate import DTYPES, Shape

BLOCK_SECONDS = 0.005
"""A turn repeats what takes less than this until it lasts about so long."""

MATRIX = 1024
"""Rows and columns of the matrices whose product gives the machine's speed."""


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
    """What is timed, on how many threads."""

    call: Callable[[], object]
    threads: int


def in_turns(tasks: Sequence[Task], rounds: int, advance: Callable[[], None] = lambda: None) -> list[Times]:
    """Time tasks alternately; every turn warms up first, and on CUDA waits for the device.

    Args:
        tasks: What to time.
        rounds: Turns of each task.
        advance: Called after every turn.
    """
    timers = [Timer("call()", globals={"call": task.call}, num_threads=task.threads) for task in tasks]
    numbers = [max(1, round(BLOCK_SECONDS / timer.timeit(1).median)) for timer in timers]
    seconds: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for timer, number, taken in zip(timers, numbers, seconds, strict=True):
            taken.append(timer.timeit(number).median)
            advance()
    return [Times(tuple(taken)) for taken in seconds]


def matrix_product(shape: Shape) -> Callable[[], object]:
    """A large matrix product in a shape's type and on its device; it takes `MATRIX_FLOPS`."""
    a = torch.randn(MATRIX, MATRIX).to(shape.device, DTYPES[shape.dtype])
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out)


MATRIX_FLOPS = 2 * MATRIX**3
