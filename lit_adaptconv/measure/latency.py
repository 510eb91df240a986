"""How long a call takes, told by its quartiles; two calls are timed alternately."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

WARM_UP = 3
"""Calls before the clock counts: the first ones compile kernels and fill caches."""


@dataclass(frozen=True)
class Latency:
    """Seconds of one call.

    Attributes:
        batch_size: Images in a call.
        seconds: Median.
        lower: First quartile.
        upper: Third quartile.
        calls: Number of calls that were timed.
        throughput: Images a second, at the median.
    """

    batch_size: int
    seconds: float
    lower: float
    upper: float
    calls: int
    throughput: float

    @classmethod
    def of(cls, times: Sequence[float], batch_size: int) -> Latency:
        """Summarise the seconds of two or more calls."""
        lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
        return cls(batch_size, median, lower, upper, len(times), batch_size / median)


def measure(call: Callable[[], object], batch_size: int, device: torch.device, seconds: float) -> Latency:
    """Time a call again and again, for so many seconds, and at least five times."""
    return alternate([call], batch_size, device, seconds)[0]


def alternate(
    calls: Sequence[Callable[[], object]], batch_size: int, device: torch.device, seconds: float
) -> list[Latency]:
    """Time several calls in turn, so that what else the machine does meets all of them alike.

    Args:
        calls: What to time.
        batch_size: Images in a call.
        device: What the calls compute on; a call ends when the device has.
        seconds: How long all of it should take, after the warm-up; each call is timed at least five times.
    """
    for call in calls:
        for _ in range(WARM_UP):
            call()
    times: list[list[float]] = [[] for _ in calls]
    synchronise(device)
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for call, taken in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            synchronise(device)
            taken.append(time.perf_counter() - begin)
    return [Latency.of(taken, batch_size) for taken in times]


def synchronise(device: torch.device) -> None:
    """Wait until the device has computed what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
