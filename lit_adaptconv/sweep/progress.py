"""How far a sweep is, for the screen and for other terminals."""

from __future__ import annotations

import contextlib
import heapq
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import read_text, write_text
from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.records import record
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.result import RunResult

FILE = "progress.json"
TICK_SECONDS = 1.0
RECENT = 4
"""A trial counts for at least one part in so many of the mean of its kind, however many there were before."""


@dataclass(frozen=True)
class Running:
    """A trial under way.

    Attributes:
        title: Its name.
        seconds: Seconds since it was started.
        epoch: Epochs so far, None before the first evaluation.
        value: The monitored metric at the last evaluation, as people read it.
    """

    title: str
    seconds: float
    epoch: float | None
    value: str | None


@dataclass(frozen=True)
class Duration:
    """How long the trials of an arm at a budget take.

    Attributes:
        arm: Name of the arm.
        budget: The budget.
        seconds: Mean seconds of a trial, everything counted; the more recent a trial, the more it counts.
        trials: How many there were.
    """

    arm: str
    budget: Limits | None
    seconds: float
    trials: int


@dataclass(frozen=True)
class Progress:
    """What is shown of a sweep.

    Attributes:
        name: Name of the sweep.
        total: Trials in all, those of tuning included.
        epochs: Epochs of a trial, None if it is not bounded by them.
        workers: Trials that may run at the same time.
        ended: Trials that have ended, by status.
        running: Trials under way.
        durations: How long trials take.
        seconds_left: Estimated seconds until the end; None while nothing is known.
    """

    name: str
    total: int
    epochs: int | None
    workers: int
    ended: dict[str, int]
    running: tuple[Running, ...] = ()
    durations: tuple[Duration, ...] = ()
    seconds_left: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Progress:
        """Read what the sweep last wrote to its folder.

        Raises:
            UserError: There is nothing that can be read.
        """
        try:
            return record(cls, json.loads(read_text(folder / FILE)))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{folder / FILE} can't be read: {error}") from None


@dataclass(frozen=True)
class Listener:
    """Is told how a sweep comes along.

    Attributes:
        show: Is given the progress, about once a second.
        say: Is given a line that people should read.
    """

    show: Callable[[Progress], None] = lambda progress: None
    say: Callable[[str], None] = lambda line: None


class Monitor:
    """Keeps count of a driver's trials, estimates the time left, shows and writes it.

    Args:
        store: Where the results of running trials are read.
        planned: Number of trials of each arm at each budget, those of tuning included.
        epochs: Epochs of a trial, if it is bounded by them.
        workers: Trials that run at the same time.
        listener: Is told.
    """

    def __init__(
        self,
        store: Store,
        planned: Mapping[ArmBudget, int],
        epochs: int | None,
        workers: int,
        listener: Listener,
    ) -> None:
        self._store = store
        self._metric = store.sweep.metric
        self._left = Counter(planned)
        self._total = sum(planned.values())
        self._epochs = epochs
        self._workers = workers
        self._listener = listener
        self._ended: Counter[str] = Counter()
        self._running: dict[str, tuple[Trial, float]] = {}
        self._durations = known_durations(store.folder.path)
        self._ticked = 0.0

    def started(self, trial: Trial) -> None:
        """Count it as running."""
        self._running[trial.id] = (trial, time.monotonic())

    def had_ended(self, trial: Trial, result: RunResult) -> None:
        """Count one that is not run again."""
        self._left[ArmBudget(trial.arm, trial.budget)] -= 1
        self._ended[result.status] += 1

    def ended(self, trial: Trial, result: RunResult, seconds: float | None) -> None:
        """Count it, and say how it ended."""
        at = ArmBudget(trial.arm, trial.budget)
        self._running.pop(trial.id, None)
        self.had_ended(trial, result)
        if result.status == "done" and seconds is not None:
            old = self._durations.get(at, Duration(*at, 0.0, 0))
            mean = old.seconds + (seconds - old.seconds) / min(old.trials + 1, RECENT)
            self._durations[at] = Duration(*at, mean, old.trials + 1)
        tested = result.test_metrics.get(self._metric.test_metric)
        value = tested if trial.tuning is None else result.val_value
        how = result.reason if result.status != "done" else "" if value is None else self._metric.shown(value)
        self.say(f"{sum(self._ended.values())}/{self._total} {trial.title}: {result.status} {how or ''}".rstrip())
        self._ticked = 0.0

    def retried(self, trial: Trial, reason: str) -> None:
        """Say why it starts again."""
        self._running.pop(trial.id, None)
        self.say(f"{trial.title}: {reason}; it is started again")

    def say(self, line: str) -> None:
        """Tell people."""
        self._listener.say(line)

    def tick(self) -> None:
        """Show the progress, and write it to the folder, once a second."""
        if time.monotonic() - self._ticked < TICK_SECONDS:
            return
        self._ticked = time.monotonic()
        progress = self.progress()
        self._listener.show(progress)
        with contextlib.suppress(OSError):  # a full disk; the driver says so where it matters
            write_text(self._store.folder.path / FILE, json.dumps(asdict(progress)) + "\n")

    def progress(self) -> Progress:
        """What is shown now."""
        now = time.monotonic()
        return Progress(
            name=self._store.sweep.name,
            total=self._total,
            epochs=self._epochs,
            workers=self._workers,
            ended=dict(self._ended),
            running=tuple(self._seen(trial, now - began) for trial, began in self._running.values()),
            durations=tuple(self._durations.values()),
            seconds_left=self._seconds_left(now),
        )

    def _seen(self, trial: Trial, seconds: float) -> Running:
        result = self._store.result(trial)
        last = result.curve[-1] if result is not None and result.curve else None
        if last is None:
            return Running(trial.title, seconds, None, None)
        return Running(trial.title, seconds, last.epoch, self._metric.shown(last.value))

    def _seconds_left(self, now: float) -> float | None:
        if not self._durations:
            return None
        running = Counter(ArmBudget(trial.arm, trial.budget) for trial, _ in self._running.values())
        under_way = [
            max(0.0, seconds_of(self._durations, ArmBudget(trial.arm, trial.budget)) - (now - began))
            for trial, began in self._running.values()
        ]
        waiting = [seconds_of(self._durations, at) for at, n in self._left.items() for _ in range(n - running[at])]
        return seconds_on(self._workers, under_way, waiting)


def seconds_on(workers: int, under_way: Iterable[float], waiting: Iterable[float]) -> float:
    """Seconds until so many workers have finished trials, each of which takes what is waiting as soon as it is free.

    Args:
        workers: Number of workers, at least 1.
        under_way: Seconds left of the trials under way.
        waiting: Seconds of the trials that wait, in their order.
    """
    free = sorted(under_way)
    free += [0.0] * (workers - len(free))
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heappushpop(free, free[0] + seconds)
    return max(free)


def known_durations(folder: Path) -> dict[ArmBudget, Duration]:
    """How long trials took in the sweeps of this folder so far."""
    try:
        durations = Progress.read(folder).durations
    except UserError:
        return {}
    return {ArmBudget(d.arm, d.budget): d for d in durations if d.trials > 0 and 0 <= d.seconds < math.inf}


def seconds_of(durations: Mapping[ArmBudget, Duration], at: ArmBudget) -> float:
    """Expected seconds of a trial: those of its arm and budget, else the mean of all that are known."""
    if at in durations:
        return durations[at].seconds
    return sum(d.seconds * d.trials for d in durations.values()) / sum(d.trials for d in durations.values())
