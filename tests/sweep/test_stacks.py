"""Trials of a sweep that are trained together: which they are, and that nothing is lost."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_cases import maker, plan, sweep

from lit_adaptconv.files import write_text
from lit_adaptconv.sweep import running, stacks
from lit_adaptconv.sweep import stack_sizes as stacking
from lit_adaptconv.sweep.driver import Driver
from lit_adaptconv.sweep.engines import Job, Outcome, local
from lit_adaptconv.sweep.engines.local import local_slots
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.progress import Listener, Monitor
from lit_adaptconv.sweep.run import prepare, run_sweep
from lit_adaptconv.sweep.running import run_trial
from lit_adaptconv.sweep.stack_sizes import stack_sizes, told
from lit_adaptconv.sweep.stacks import STACKS, Stack, Stacker, commit, recover
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.checkpoint import STAGED
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG

SMALL: dict[str, Any] = {
    "data": {"class_path": "lit_adaptconv.data.Digits", "init_args": {"batch_size": 64, "image_size": 8}},
    "backbone": {"class_path": "lit_adaptconv.models.ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
    "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    "budgets": [200],
    "wandb": False,
}
ON_GPU = {**SMALL, "trainer": {"max_epochs": 3}, "seeds": 2}


def stacker(folder: Path, size: int) -> Stacker:
    of = maker(plan())
    return Stacker(folder, SweepFolder(folder).group, lambda trial: of.config(trial, "uid"), lambda trial: size)


@given(size=st.integers(1, 4), begun=st.sets(st.integers(0, 11)))
@settings(deadline=None, max_examples=30)
def test_each_trial_is_in_one_stack_of_its_like_or_alone(size: int, begun: set[int]) -> None:
    trials = list(maker(plan()).all())
    old = {trial.id for number, trial in enumerate(trials) if number in begun}
    waiting, taken = deque(trials), list[Trial]()
    chooser = stacker(Path("nowhere"), size)
    while waiting:
        first = waiting.popleft()
        found = chooser.take(first, waiting, lambda trial: trial.id not in old)
        members = [first] if found is None else found[1]
        assert len(members) <= size
        assert found is None or len(members) > 1
        assert len({trial.arm for trial in members}) == 1
        assert found is None or not old & {trial.id for trial in members}
        taken += members
    assert sorted(trial.id for trial in taken) == sorted(trial.id for trial in trials)


def test_rates_and_weight_decay_may_differ_and_nothing_else(tmp_path: Path) -> None:
    tuned = [{"optimizer.lr": 0.01}, {"optimizer.lr": 0.02}, {"optimizer.lr": 0.02, "label_smoothing": 0.1}]
    of = maker(plan())
    at = of.plan.arm_budgets[0]
    trials = [of.tuning(at, number, values, 1)[0] for number, values in enumerate(tuned)]
    keys = [stacks.key_of(of.config(trial, "uid")) for trial in trials]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0] != stacks.key_of(of.config(of.comparison(at)[0], "uid"))  # which is tested, too


class Killed(BaseException):
    """The end of the process."""


@given(epochs=st.lists(st.booleans(), min_size=3, max_size=3), last=st.integers(0, 12))
@settings(deadline=None, max_examples=60)
def test_after_a_kill_at_any_operation_all_have_the_same_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[bool], last: int
) -> None:
    """Three trials, of which one may have left; a kill before any operation on files of any of three commits."""
    sweep = tmp_path_factory.mktemp("sweep")
    names = tuple(f"trials/{number}" for number in range(3))
    stack = Stack(names)
    folder = sweep / STACKS / stack.name
    stack.write(folder)
    patch, left = pytest.MonkeyPatch(), itertools.count(last, -1)

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if next(left) <= 0:
                raise Killed
            return operation(*args, **kwargs)

        return run

    patch.setattr(Path, "replace", counted(Path.replace))
    patch.setattr("lit_adaptconv.sweep.stacks.write_text", counted(write_text))
    active = list(names)
    try:
        for epoch, leaves in enumerate(epochs):
            for name in active:
                place = sweep / name / CHECKPOINTS["last"]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.with_name(place.name + STAGED).write_text(f"{epoch}")
            if leaves and len(active) > 1:
                active.pop()
            commit(folder, sweep, stack, {name: Outcome("done") for name in names if name not in active})
    except Killed:
        pass
    finally:
        patch.undo()
    found = Stack.read(folder)
    recover(sweep, found)
    here = [sweep / name / CHECKPOINTS["last"] for name in found.active]
    assert len({place.read_text() if place.exists() else "" for place in here}) == 1
    assert not list(sweep.rglob(f"*{STAGED}"))


class Ending:
    """An engine in which the trials of a stack end as they are told."""

    slots = 1

    def __init__(self, ends: dict[str, Outcome], outcomes: list[Outcome], folder: SweepFolder) -> None:
        self.jobs: list[Job] = []
        self._ends, self._outcomes, self._folder = ends, outcomes, folder

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        job, outcome = self.jobs[-1], self._outcomes.pop(0)
        if outcome.status == "done":
            stack = Stack.read(job.folder)
            stack.ends = self._ends
            stack.write(job.folder)
        return [(job, outcome)]

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


def test_each_trial_of_a_stack_ends_in_its_own_way_also_after_its_process_was_killed(tmp_path: Path) -> None:
    of = plan(arms={"standard": plan().arms["standard"]}, budgets=[300])
    trials = list(maker(of).all())
    store = Store(SweepFolder(tmp_path), sweep(of, trials))
    ways = (Outcome("done"), Outcome("diverged", "the loss is nan"), Outcome("failed", "a reason"))
    ends = {f"trials/{trial.id}": end for trial, end in zip(trials, ways, strict=True)}
    engine = Ending(ends, [Outcome("lost"), Outcome("done", seconds=3.0)], store.folder)
    chooser = stacker(tmp_path, 3)
    monitor = Monitor(store, dict.fromkeys(of.arm_budgets, 3), 2, 1, Listener())
    driver = Driver(store, engine, lambda trial: {}, 2, chooser, monitor, Interruption())
    driver.run(trials, lambda trial, result: [])
    assert [job.id for job in engine.jobs] == [engine.jobs[0].id] * 2
    results = [store.result(trial) for trial in trials]
    assert [(found.status, found.reason) for found in results if found] == [(end.status, end.reason) for end in ways]


def stack_folder(folder: Path, seeds: int) -> Path:
    """The folder of a stack of real trials that have not begun."""
    of = plan(**SMALL, arms={"standard": plan().arms["standard"]}, seeds=seeds, evaluate_every=0.5)
    trials = list(prepare(of).maker.all())
    names = tuple(f"trials/{trial.id}" for trial in trials)
    made = prepare(of).maker
    for name, trial in zip(names, trials, strict=True):
        (folder / name).mkdir(parents=True)
        (folder / name / CONFIG).write_text(yaml.safe_dump(made.config(trial, "uid")))
    stack = Stack(names)
    stack.write(folder / STACKS / stack.name)
    return folder / STACKS / stack.name


def left_of(folder: Path) -> dict[str, tuple[Any, Any]]:
    """What each trial has left: its weights, and its result without times."""
    found = {}
    for place in sorted((folder / "trials").iterdir()):
        told = json.loads((place / "result.json").read_text())
        for evaluation in [told, *told["curve"], *told["convergence"]]:
            for name in ("seconds", "training_seconds", "started"):
                evaluation.pop(name, None)
        weights = torch.load(place / CHECKPOINTS["last"], weights_only=True)["state_dict"]
        found[place.name] = ({name: value.tolist() for name, value in weights.items()}, told)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(3,), (0, 1, 6)], ids=str)
def test_a_killed_stack_ends_bit_for_bit_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: tuple[int, ...]
) -> None:
    whole = stack_folder(tmp_path / "whole", 3)
    left_by_kills(tmp_path, "whole", monkeypatch, lambda number: number in kills)
    run_trial(whole)
    for kill in kills:
        cut = tmp_path / str(kill) / STACKS / whole.name
        run_trial(cut)
        assert left_of(tmp_path / "whole") == left_of(tmp_path / str(kill))
        stack = Stack.read(cut)
        assert [stack.ends[name].status for name in stack.members] == ["done"] * 3


def left_by_kills(folder: Path, sweep: str, patch: pytest.MonkeyPatch, here: Callable[[int], bool]) -> None:
    """Copy what a kill would leave of a sweep before those of its commits whose numbers are chosen."""
    commits = itertools.count()

    def copying(*args: Any) -> None:
        if here(number := next(commits)):
            shutil.copytree(folder / sweep, folder / str(number))
        commit(*args)

    patch.setattr(running, "commit", copying)


@pytest.mark.slow
def test_a_trial_that_diverged_before_a_kill_has_diverged_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stack_folder(tmp_path / "whole", 3)
    wrong = tmp_path / "whole" / Stack.read(whole).members[1] / CONFIG
    config = yaml.safe_load(wrong.read_text())
    config["model"]["optimizer"]["init_args"]["lr"] = 1e30
    wrong.write_text(yaml.safe_dump(config))
    left_by_kills(tmp_path, "whole", monkeypatch, lambda number: bool(Stack.read(whole).ends))
    run_trial(whole)
    first = min(int(place.name) for place in tmp_path.iterdir() if place.name.isdigit())
    cut = tmp_path / str(first) / STACKS / whole.name
    run_trial(cut)
    for folder in (whole, cut):
        stack = Stack.read(folder)
        assert [stack.ends[name].status for name in stack.members] == ["done", "diverged", "done"]
        results = [RunResult.read(folder.parents[1] / name / "result.json") for name in stack.members]
        assert [found.status for found in results] == ["done", "diverged", "done"]


def test_a_stack_whose_trials_were_taken_away_begins_anew(tmp_path: Path) -> None:
    of = plan(arms={"standard": plan().arms["standard"]}, budgets=[300])
    trials = list(maker(of).all())
    store = Store(SweepFolder(tmp_path), sweep(of, trials))
    names = tuple(f"trials/{trial.id}" for trial in trials)
    before = Stack(names, ends=dict.fromkeys(names, Outcome("done")))
    before.write(tmp_path / STACKS / before.name)
    engine = Ending({}, [Outcome("failed", "a reason")], store.folder)
    monitor = Monitor(store, dict.fromkeys(of.arm_budgets, 3), 2, 1, Listener())
    driver = Driver(store, engine, lambda trial: {}, 0, stacker(tmp_path, 3), monitor, Interruption())
    driver.run(trials, lambda trial, result: [])
    assert Stack.read(engine.jobs[0].folder) == Stack(names)
    assert {found.status for found in map(store.result, trials) if found} == {"failed"}


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space is left")], ids=repr)
def test_a_stack_that_an_error_ends_leaves_trials_that_say_so_and_no_thread_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = stack_folder(tmp_path, 2)
    wandb.setup()  # has threads of its own, which stay
    calls, threads = itertools.count(), threading.enumerate()

    def failing(*args: Any) -> None:
        if next(calls) == 3:
            raise error
        commit(*args)

    with monkeypatch.context() as patch:
        patch.setattr(running, "commit", failing)
        with pytest.raises(type(error)):
            run_trial(folder)
    assert {*threading.enumerate()} <= {*threads}
    results = [RunResult.read(place / "result.json") for place in (tmp_path / "trials").iterdir()]
    assert {found.status for found in results} == {"interrupted"}
    run_trial(folder)
    results = [RunResult.read(place / "result.json") for place in (tmp_path / "trials").iterdir()]
    assert {(found.status, found.stacked) for found in results} == {("done", 2)}


def test_the_reasons_for_training_alone_are_told(tmp_path: Path) -> None:
    arms = {
        "standard": plan().arms["standard"],
        "drawn": type(plan().arms["standard"])(backbone_options={"channels": [3, 5]}),
    }
    of = plan(**{**SMALL, "trainer": {**SMALL["trainer"], "accumulate_grad_batches": 2}}, arms=arms, seeds=2)
    prepared = prepare(of)
    assert {size.number for size in stack_sizes(prepared, 4).values()} == {1}
    (line,) = told(stack_sizes(prepared, 4))
    assert "accumulate_grad_batches" in line
    assert "standard, drawn" in line
    assert told(stack_sizes(prepared, 1)) == told(stack_sizes(prepared, "auto")) == []


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two GPUs with room for 32 networks each; what is asked of them, in order."""
    asked: list[str] = []

    def measured(*args: object) -> int:
        asked.append("measure")
        return 1000

    monkeypatch.setattr(stacking, "visible_gpus", lambda: ("0", "1"))
    monkeypatch.setattr(stacking, "training_bytes", measured)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (64_000, 100_000))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("empty"))
    return asked


def test_stacks_that_share_a_gpu_share_its_memory_and_what_was_measured_is_given_back(gpus: list[str]) -> None:
    prepared = prepare(plan(**ON_GPU))
    for sharing, number in ((1, 32), (4, 8), (100, 1)):
        gpus.clear()
        sizes = stack_sizes(prepared, "auto", sharing)
        assert {size.number for size in sizes.values()} == {number}
        assert gpus == ["measure", "empty"] * len(sizes)


def test_the_memory_of_a_measurement_that_failed_is_given_back(
    gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large(torch.Tensor): ...

    held = []

    def out_of_memory(*args: object) -> int:
        large = torch.zeros(1).as_subclass(Large)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("there is too little")

    monkeypatch.setattr(stacking, "training_bytes", out_of_memory)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gpus.append("empty" if held[-1]() is None else "held"))
    sizes = stack_sizes(prepare(plan(**ON_GPU)), "auto")
    assert {(size.number, size.reason) for size in sizes.values()} == {(1, "a trial step failed: there is too little")}
    assert gpus == ["empty"] * len(sizes)


def test_trials_that_train_on_several_gpus_are_trained_alone(gpus: list[str]) -> None:
    prepared = prepare(plan(**ON_GPU, gpus=2))
    for asked in ("auto", 4):
        sizes = stack_sizes(prepared, asked)
        assert {(size.number, size.reason) for size in sizes.values()} == {(1, "a trial trains on several GPUs")}
    assert "measure" not in gpus


@pytest.mark.parametrize(
    ("workers", "gpus", "sharing"), [(None, 1, 1), (None, 0.25, 4), (4, 1, 2), (3, 1, 2), (None, 2, 1), (4, None, 4)]
)
def test_the_trials_that_share_a_device_are_counted(
    monkeypatch: pytest.MonkeyPatch, workers: int | None, gpus: float | None, sharing: int
) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: 64)
    assert local_slots(workers, None, gpus, ("0", "1")).sharing == sharing


@pytest.mark.slow
def test_a_sweep_in_stacks_ends_with_the_table_of_one_without(tmp_path: Path) -> None:
    of = plan(**SMALL, seeds=3, targets=[0.3, 0.5])
    tables = {}
    for stack in (1, 3):
        tables[stack] = run_sweep(of, tmp_path / str(stack), workers=1, stack=stack).results.sort_by("trial")
    alone, together = tables[1], tables[3]
    for name in ("trial", "arm", "seed", "status", "test_metric", "val_metric", "steps_to_0.3", "steps_to_0.5"):
        assert alone[name] == together[name], name
    assert set(alone["stacked"].to_pylist()) == {None}
    assert set(together["stacked"].to_pylist()) == {3}
    costs, steps = together["step_seconds"].to_pylist(), together["steps"].to_pylist()
    for seconds, cost, number in zip(together["training_seconds"].to_pylist(), costs, steps, strict=True):
        assert seconds is None if cost is None else seconds == pytest.approx(cost * number)
