"""Keeps an engine busy with trials until all have ended, and writes the tables."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import yaml

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.engines import Engine, Job, Outcome
from lit_adaptconv.sweep.engines.worker import begin_anew
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.progress import Monitor
from lit_adaptconv.sweep.stacks import STACKS, Stack, Stacker
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CONFIG

POLL_SECONDS = 0.5
WRITE_SECONDS = 20.0
RESUMABLE = ("running", "interrupted")

Follow = Callable[[Trial, RunResult], Sequence[Trial]]
"""What is to run after a trial: nothing, or the next ones of a search."""


class Driver:
    """Runs trials.

    Args:
        store: Where results are read and written.
        engine: What runs them.
        config: Makes the config of a trial.
        retries: How often a trial is started again after its process was killed.
        stacker: Decides which trials are trained together.
        monitor: Keeps count of what happens.
        interruption: Says whether the sweep shall stop.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        config: Callable[[Trial], dict[str, Any]],
        retries: int,
        stacker: Stacker,
        monitor: Monitor,
        interruption: Interruption,
    ) -> None:
        self._store = store
        self._engine = engine
        self._config = config
        self._retries = retries
        self._stacker = stacker
        self._monitor = monitor
        self._interruption = interruption
        self._waiting: deque[Trial] = deque()
        self._running: dict[str, list[Trial]] = {}
        self._stacks: dict[str, Stack] = {}
        self._lost: Counter[str] = Counter()
        self._written = time.monotonic()

    def run(self, trials: Iterable[Trial], follow: Follow) -> None:
        """Run what is not done yet, and what follows from it, until all has ended or the user interrupts."""
        self._waiting.extend(trials)
        stopping = False
        try:
            self._pass_over(follow)
            self.write()
            while self._running or (self._waiting and not stopping):
                if self._interruption.asked and not stopping:
                    stopping = True
                    self._engine.interrupt()
                while self._waiting and len(self._running) < self._engine.slots and not stopping:
                    self._start(self._waiting.popleft(), follow)
                if self._running:
                    for job, outcome in self._engine.wait(POLL_SECONDS):
                        self._end(job, outcome, follow, stopping)
                self._monitor.tick()
                if time.monotonic() - self._written > WRITE_SECONDS:
                    self.write()
        finally:
            self.write()

    def _pass_over(self, follow: Follow) -> None:
        """Count the trials that had ended before, and take what follows from them; the others wait."""
        left: deque[Trial] = deque()
        while self._waiting:
            trial = self._waiting.popleft()
            before = self._store.result(trial)
            if before is not None and (before.status == "done" or self._store.folder.settled(trial)):
                self._monitor.had_ended(trial, before)
                self._waiting.extend(follow(trial, before))
            else:
                left.append(trial)
        self._waiting = left

    def _start(self, trial: Trial, follow: Follow) -> None:
        before = self._store.result(trial)
        if trial.impossible is not None:
            self._settle(trial, Outcome("failed", trial.impossible), follow)
            return
        together = self._stacker.take(trial, self._waiting, lambda other: self._store.result(other) is None)
        if together is not None:
            self._start_stack(*together, follow)
            return
        resume = before is not None and before.status in RESUMABLE
        if self._prepared(trial, follow, anew=not resume):
            self._submit(Job(trial.id, self._store.folder.trial(trial), resume), [trial])

    def _start_stack(self, stack: Stack, trials: Sequence[Trial], follow: Follow) -> None:
        folder = self._store.folder.path / STACKS / stack.name
        begins = not self._stacker.has_begun(stack)
        ready = [trial for trial in trials if self._prepared(trial, follow, anew=begins)]
        try:
            if begins:
                stack.write(folder)
        except OSError as error:
            for trial in ready:
                self._settle(trial, Outcome("failed", f"its stack could not be written: {error}"), follow)
            return
        self._stacker.remember(stack)
        self._stacks[stack.name] = stack
        self._submit(Job(stack.name, folder, True), ready)

    def _prepared(self, trial: Trial, follow: Follow, *, anew: bool) -> bool:
        """Write a trial's config, and remove what was before if it begins anew; where that fails, so does the trial."""
        self._store.begin(trial)
        folder = self._store.folder.trial(trial)
        try:
            if anew:  # here, not where it runs: nobody is to read the old result while this one waits
                begin_anew(folder)
            write_text(folder / CONFIG, yaml.safe_dump(self._config(trial), sort_keys=False, allow_unicode=True))
        except OSError as error:
            self._settle(trial, Outcome("failed", f"its config could not be written: {error}"), follow)
            return False
        return True

    def _submit(self, job: Job, trials: list[Trial]) -> None:
        self._running[job.id] = trials
        for trial in trials:
            self._monitor.started(trial)
        self._engine.submit(job)

    def _end(self, job: Job, outcome: Outcome, follow: Follow, stopping: bool) -> None:
        trials, stack = self._running.pop(job.id), self._stacks.pop(job.id, None)
        if outcome.status == "lost":
            self._lost[job.id] += 1
            if stopping:
                outcome = Outcome("interrupted", "interrupted by the user")
            elif self._lost[job.id] <= self._retries:
                for trial in reversed(trials):
                    self._monitor.retried(trial, outcome.reason or "its process disappeared")
                    self._waiting.appendleft(trial)
                return
        if stack is not None:
            self._end_stack(stack, job, outcome, trials, follow)
            return
        if job.resume:  # these are not the seconds of a whole trial
            outcome = replace(outcome, seconds=None)
        self._settle(trials[0], outcome, follow)

    def _end_stack(self, stack: Stack, job: Job, outcome: Outcome, trials: Sequence[Trial], follow: Follow) -> None:
        """Settle how each trial of a stack ended."""
        ends: dict[str, Outcome] = {}
        with contextlib.suppress(UserError):
            stack = Stack.read(job.folder)
            ends = stack.ends
        if stack.alone is not None:
            self._monitor.say(f"{trials[0].arm}: trained one by one, not in a stack: {stack.alone}")
        if outcome.status != "interrupted":
            self._stacker.forget(stack)
        for trial in trials:
            end = ends.get(self._stacker.name(trial))
            if end is not None:
                seconds = None if outcome.seconds is None else outcome.seconds / len(trials)
                self._settle(trial, replace(end, seconds=seconds), follow)
            elif outcome.status == "done":  # the file is damaged
                self._settle(trial, Outcome("failed", "its stack does not say how it ended"), follow)
            else:
                self._settle(trial, replace(outcome, seconds=None), follow)

    def _settle(self, trial: Trial, outcome: Outcome, follow: Follow) -> None:
        result = self._store.finish(trial, outcome)
        self._monitor.ended(trial, result, outcome.seconds)
        if following := follow(trial, result):
            self._waiting.extend(following)
            self._pass_over(follow)

    def write(self) -> None:
        """Write the tables; a full disk is reported and survived."""
        self._written = time.monotonic()
        try:
            self._store.write()
        except OSError as error:
            self._monitor.say(f"the tables could not be written, and will be tried again: {error}")
