"""How far a sweep is, for the screen and for other terminals."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Pair, Trial
from lit_adaptconv.train.result import RunResult

FILE = "progress.json"
TICK_SECONDS = 1.0


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
        seconds: Mean seconds of a trial, everything counted.
        trials: How many it is the mean of.
    """

    arm: str
    budget: int | None
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
            content: dict[str, Any] = json.loads((folder / FILE).read_text())
            running = tuple(Running(**each) for each in content.pop("running"))
            durations = tuple(Duration(**each) for each in content.pop("durations"))
            return cls(**content, running=running, durations=durations)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / FILE} can't be read: {error}") from None


class Monitor:
    """The driver's listener: keeps count, estimates the time left, shows and writes it.

    Args:
        store: Where the results of running trials are read.
        planned: Number of trials of each arm at each budget, those of tuning included.
        epochs: Epochs of a trial, if it is bounded by them.
        workers: Trials that run at the same time.
        show: Shows the progress.
        say: Prints one line that stays.
    """

    def __init__(
        self,
        store: Store,
        planned: Mapping[Pair, int],
        epochs: int | None,
        workers: int,
        show: Callable[[Progress], None],
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._metric = store.sweep.metric
        self._left = Counter(planned)
        self._total = sum(planned.values())
        self._epochs = epochs
        self._workers = workers
        self._show = show
        self._say = say
        self._ended: Counter[str] = Counter()
        self._running: dict[str, tuple[Trial, float]] = {}
        self._durations = {(d.arm, d.budget): d for d in known_durations(store.folder.path)}
        self._ticked = 0.0

    def started(self, trial: Trial) -> None:
        """Count it as running."""
        self._running[trial.id] = (trial, time.monotonic())

    def ended(self, trial: Trial, result: RunResult, seconds: float | None) -> None:
        """Count it, and say how it ended unless it had ended before."""
        pair = (trial.arm, trial.budget)
        before = self._running.pop(trial.id, None)
        self._left[pair] -= 1
        self._ended[result.status] += 1
        if result.status == "done" and seconds is not None:
            old = self._durations.get(pair, Duration(*pair, 0.0, 0))
            mean = (old.seconds * old.trials + seconds) / (old.trials + 1)
            self._durations[pair] = Duration(*pair, mean, old.trials + 1)
        if before is not None or result.status != "done":
            tested = result.test_metrics.get(self._metric.test_metric)
            value = tested if trial.tuning is None else result.val_value
            how = result.reason if result.status != "done" else "" if value is None else self._metric.shown(value)
            self._say(f"{sum(self._ended.values())}/{self._total} {trial.title}: {result.status} {how or ''}".rstrip())
        self._ticked = 0.0

    def retried(self, trial: Trial, reason: str) -> None:
        """Say why it starts again."""
        self._running.pop(trial.id, None)
        self._say(f"{trial.title}: {reason}; it is started again")

    def warn(self, message: str) -> None:
        """Say it."""
        self._say(message)

    def tick(self) -> None:
        """Show the progress, and write it to the folder, once a second."""
        if time.monotonic() - self._ticked < TICK_SECONDS:
            return
        self._ticked = time.monotonic()
        progress = self.progress()
        self._show(progress)
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
        left = sum(seconds_of(self._durations, pair) * n for pair, n in self._left.items()) if self._durations else None
        if left is None:
            return None
        spent = sum(
            min(now - began, seconds_of(self._durations, (trial.arm, trial.budget)))
            for trial, began in self._running.values()
        )
        return max(0.0, left - spent) / self._workers


def known_durations(folder: Path) -> tuple[Duration, ...]:
    """How long trials took in the sweeps of this folder so far."""
    try:
        return Progress.read(folder).durations
    except UserError:
        return ()


def seconds_of(durations: Mapping[Pair, Duration], pair: Pair) -> float:
    """Expected seconds of a trial: those of its arm and budget, else the mean of all that are known."""
    if pair in durations:
        return durations[pair].seconds
    return sum(d.seconds * d.trials for d in durations.values()) / sum(d.trials for d in durations.values())
