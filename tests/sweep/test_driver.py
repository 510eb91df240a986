from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_cases import maker, plan, result, sweep

from lit_adaptconv.sweep.driver import Driver
from lit_adaptconv.sweep.engines import Job, Outcome
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.progress import RECENT, Listener, Monitor, Progress, seconds_on
from lit_adaptconv.sweep.stacks import Stacker
from lit_adaptconv.sweep.store import Store, read_results
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.result import RunResult

DONE = Outcome("done", seconds=2.0)
Behaviour = Callable[[Trial], Outcome]


class Instant:
    """An engine whose jobs end when they are waited for, as a function says."""

    def __init__(self, store: Store, behaviour: Behaviour, slots: int = 2) -> None:
        self.slots = slots
        self.submitted: list[Job] = []
        self.interrupted = False
        self._store = store
        self._behaviour = behaviour
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        assert len(self._jobs) < self.slots
        self.submitted.append(job)
        self._jobs.append(job)

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        job = self._jobs.popleft()
        trial = next(trial for trial in self._store.sweep.trials if trial.id == job.id)
        outcome = self._behaviour(trial)
        if outcome.status == "done":
            result(trial, [0.4, 0.6]).write(job.folder / "result.json")
        elif outcome.status == "lost":
            result(trial, [0.4], status="running").write(job.folder / "result.json")
        return [(job, outcome)]

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        pass


class Bench:
    """A sweep of twelve trials, or of as many as other settings of its plan make, on an instant engine."""

    def __init__(self, path: Path, retries: int = 2, **changes: Any) -> None:
        self.plan = plan(retries=retries, **changes)
        folder = SweepFolder(path)
        folder.write(sweep(self.plan, list(maker(self.plan).all())))
        self.store = Store(folder, folder.read())
        self.interruption = Interruption()
        self.said: list[str] = []
        self.shown: list[Progress] = []

    def run(
        self,
        behaviour: Behaviour,
        follow: Callable[[Trial, RunResult], list[Trial]] | None = None,
        begin: list[Trial] | None = None,
    ) -> list[Job]:
        store = Store(self.store.folder, self.store.sweep)
        engine = Instant(store, behaviour)
        planned = dict.fromkeys(self.plan.arm_budgets, self.plan.seeds)
        listener = Listener(self.shown.append, self.said.append)
        self.monitor = Monitor(store, planned, 2, engine.slots, listener)
        stacker = Stacker(store.folder.path, store.folder.group, lambda trial: {}, lambda trial: 1)
        driver = Driver(store, engine, lambda trial: {}, self.plan.retries, stacker, self.monitor, self.interruption)
        driver.run(begin or store.sweep.trials, follow or (lambda trial, result: []))
        self.engine = engine
        return engine.submitted

    def statuses(self) -> list[str]:
        statuses: list[str] = read_results(self.store.folder.path)["status"].to_pylist()
        return statuses


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_trial_runs_once_and_running_again_runs_none(bench: Bench) -> None:
    assert len(bench.run(lambda trial: DONE)) == 12
    assert bench.statuses() == ["done"] * 12
    assert bench.run(lambda trial: DONE) == []
    assert bench.statuses() == ["done"] * 12


def test_the_others_finish_and_running_again_repeats_only_what_did_not(bench: Bench) -> None:
    bad = {bench.store.sweep.trials[2].id: "failed", bench.store.sweep.trials[5].id: "diverged"}

    def behaviour(trial: Trial) -> Outcome:
        return Outcome(bad[trial.id], "so it is") if trial.id in bad else DONE  # type: ignore[arg-type]

    bench.run(behaviour)
    assert bench.statuses().count("done") == 10
    assert {"failed", "diverged"} < set(bench.statuses())
    assert {job.id for job in bench.run(lambda trial: DONE)} == set(bad)
    assert bench.statuses() == ["done"] * 12


def test_what_runs_again_hides_its_old_result_and_what_is_done_counts_from_the_start(bench: Bench) -> None:
    bad = bench.store.sweep.trials[5].id
    bench.run(lambda trial: Outcome("failed", "so it is") if trial.id == bad else DONE)
    bench.shown.clear()
    rows: list[list[str]] = []

    def behaviour(trial: Trial) -> Outcome:
        rows.append(bench.statuses())
        bench.monitor.tick()
        assert Store(bench.store.folder, bench.store.sweep).result(trial) is None
        return DONE

    bench.run(behaviour)
    assert len(rows) == 1
    assert bench.shown[0].ended == {"done": 11}
    assert bench.statuses() == ["done"] * 12


def test_a_trial_whose_folder_can_not_be_made_fails_alone(bench: Bench) -> None:
    folder = bench.store.folder.trial(bench.store.sweep.trials[3])
    folder.parent.mkdir()
    folder.touch()  # a file in its place
    assert len(bench.run(lambda trial: DONE)) == 11
    assert sorted(bench.statuses()) == ["done"] * 11 + ["failed"]


def test_a_trial_whose_process_is_killed_continues_and_nothing_else_is_repeated(bench: Bench) -> None:
    victim, kills = bench.store.sweep.trials[3].id, iter([True, True, False])
    jobs = bench.run(lambda t: Outcome("lost", "killed") if t.id == victim and next(kills) else DONE)
    assert bench.statuses() == ["done"] * 12
    assert [job.resume for job in jobs if job.id == victim] == [False, True, True]
    assert len(jobs) == 12 + 2
    assert sum("started again" in line for line in bench.said) == 2


def test_a_trial_that_is_killed_again_and_again_fails_after_so_many_retries(bench: Bench) -> None:
    victim = bench.store.sweep.trials[3].id
    jobs = bench.run(lambda t: Outcome("lost", "killed (out of memory?)") if t.id == victim else DONE)
    assert sum(job.id == victim for job in jobs) == 1 + bench.plan.retries
    (row,) = [row for row in read_results(bench.store.folder.path).to_pylist() if row["status"] != "done"]
    assert (row["trial"], row["status"], row["reason"]) == (victim, "failed", "killed (out of memory?)")


def test_an_interruption_starts_nothing_more_and_the_next_sweep_resumes(bench: Bench) -> None:
    def behaviour(trial: Trial) -> Outcome:
        bench.interruption.asked = True
        return Outcome("interrupted", "interrupted by the user")

    assert len(bench.run(behaviour)) == 2  # those under way
    assert bench.engine.interrupted
    assert bench.statuses() == ["interrupted"] * 2
    bench.interruption.asked = False
    jobs = bench.run(lambda trial: DONE)
    assert [job.resume for job in jobs] == [True] * 2 + [False] * 10


def test_a_network_that_can_not_be_built_is_a_failed_trial_that_is_never_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    trials = tuple(
        dataclasses.replace(trial, impossible="no network is so small") if trial.budget == 300 else trial
        for trial in bench.store.sweep.trials
    )
    bench.store.sweep = dataclasses.replace(bench.store.sweep, trials=trials)
    assert len(bench.run(lambda trial: DONE)) == 6
    assert bench.statuses().count("failed") == 6


def test_what_follows_from_a_trial_is_asked_also_when_the_trial_was_done_before(bench: Bench) -> None:
    first, *others = bench.store.sweep.trials
    bench.run(lambda trial: DONE)
    for trial in others:
        (bench.store.folder.trial(trial) / "result.json").unlink()

    def follow(trial: Trial, result: RunResult) -> list[Trial]:
        return [others.pop(0)] if others else []

    assert len(bench.run(lambda trial: DONE, follow, begin=[first])) == 11


def test_a_disk_that_is_full_for_the_tables_is_reported_and_survived(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    assert len(bench.run(lambda trial: DONE)) == 12
    assert any("No space left" in line for line in bench.said)


def test_progress_counts_estimates_and_is_readable_from_another_terminal(bench: Bench) -> None:
    bench.run(lambda trial: DONE)
    bench.monitor._ticked = 0.0
    bench.monitor.tick()
    progress = Progress.read(bench.store.folder.path)
    assert (progress.total, progress.ended, progress.running) == (12, {"done": 12}, ())
    assert progress.seconds_left == 0
    assert {(d.arm, d.budget): (d.seconds, d.trials) for d in progress.durations} == dict.fromkeys(
        bench.plan.arm_budgets, (2.0, 3)
    )
    started = bench.shown[0]
    assert sum(started.ended.values()) + len(started.running) <= 3


def test_the_time_left_is_that_of_the_trials_left_on_all_workers(bench: Bench) -> None:
    left: list[float | None] = []

    def behaviour(trial: Trial) -> Outcome:
        left.append(bench.monitor.progress().seconds_left)
        return DONE

    bench.run(behaviour)
    # Two seconds each on two workers; the first is unknown, and what runs alone at the end takes its whole time.
    assert left[0] is None
    assert left[1:] == pytest.approx([2 * math.ceil((12 - i) / 2) for i in range(1, 12)], abs=0.5)


def simulated(workers: int, under_way: list[float], waiting: list[float]) -> float:
    """The same second by second: an oracle that knows no arithmetic."""
    running, queue, second = [*under_way], [*waiting], 0
    while running or queue:
        while queue and len(running) < workers:
            running.append(queue.pop(0))
        running = [each - 1 for each in running]
        running = [each for each in running if each > 0]
        second += 1
    return second


seconds = st.lists(st.integers(1, 30).map(float), max_size=12)


@given(workers=st.integers(1, 9), under_way=seconds, waiting=seconds)
def test_the_time_left_is_what_a_simulation_takes(workers: int, under_way: list[float], waiting: list[float]) -> None:
    under_way = under_way[:workers]
    assert seconds_on(workers, under_way, waiting) == simulated(workers, under_way, waiting)


@settings(max_examples=20)
@given(before=st.floats(0.1, 1e4), now=st.floats(0.1, 1e4), trials=st.integers(1, 50))
def test_recent_trials_outweigh_older_ones(before: float, now: float, trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seeds=1, budgets=[300])
        bench.run(lambda trial: Outcome("failed", "so it is"))
        monitor, trial = bench.monitor, bench.store.sweep.trials[0]
        done = result(trial, [0.5])
        for _ in range(trials):
            monitor.ended(trial, done, before)
        (known,) = monitor.progress().durations
        assert known.seconds == pytest.approx(before)
        for _ in range(3 * RECENT):
            monitor.ended(trial, done, now)
        (known,) = monitor.progress().durations
        assert known.trials == trials + 3 * RECENT
        assert abs(known.seconds - now) < 0.04 * abs(before - now) + 1e-6


def test_a_trial_that_was_continued_does_not_tell_how_long_one_takes(bench: Bench) -> None:
    lost = iter([True])

    def behaviour(trial: Trial) -> Outcome:
        return Outcome("lost", "killed") if next(lost, False) else Outcome("done", seconds=2.0)

    jobs = bench.run(behaviour)
    assert sum(job.resume for job in jobs) == 1
    assert sum(d.trials for d in bench.monitor.progress().durations) == 11


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(place=st.sampled_from(["", "durations", "running", "workers", "seconds_left", "ended", "seconds"]), junk=JUNK)
def test_whatever_the_progress_file_holds_the_next_sweep_runs(place: str, junk: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seeds=2, budgets=[300])  # for two workers: some trials wait
        duration = {"arm": "standard", "budget": 300, "seconds": 2.0, "trials": 3}
        content: object = {"name": "a", "total": 1, "epochs": 2, "workers": 1, "ended": {}, "running": []}
        assert isinstance(content, dict)
        content |= {"durations": [duration]}
        if place == "seconds":
            content["durations"] = [{**duration, "seconds": junk, "trials": junk}]
        elif place:
            content[place] = junk
        (Path(folder) / "progress.json").write_text(json.dumps(content if place else junk))
        bench.run(lambda trial: DONE)
        left = bench.monitor.progress().seconds_left
        assert left is None or left >= 0
