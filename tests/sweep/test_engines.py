from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_trials import act, job
from sweep_cases import plan

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.devices import gpus_of_trial, processes
from lit_adaptconv.sweep.engines import Engine, Job, Outcome
from lit_adaptconv.sweep.engines.local import LocalEngine, Slots, local_slots
from lit_adaptconv.sweep.engines.slurm import SlurmOptions
from lit_adaptconv.sweep.run import job_of, slots_here


def run(engine: Engine, jobs: list[Job]) -> dict[str, Outcome]:
    """Run jobs to their ends."""
    waiting, ended = list(jobs), dict[str, Outcome]()
    running = 0
    while len(ended) < len(jobs):
        while waiting and running < engine.slots:
            engine.submit(waiting.pop(0))
            running += 1
        for done, outcome in engine.wait(5.0):
            ended[done.id] = outcome
            running -= 1
    return ended


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine(act, Slots(2, 1))
    yield made
    made.close()


@pytest.mark.slow
def test_workers_are_warm_single_threaded_and_log_to_the_trials_folder(engine: LocalEngine, tmp_path: Path) -> None:
    outcomes = run(engine, [job(tmp_path, str(i), "note") for i in range(6)])
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert all(outcome.seconds is not None and outcome.seconds >= 0 for outcome in outcomes.values())
    notes = [path.read_text().split() for path in tmp_path.glob("trials/*/note")]
    assert len({pid for pid, *_ in notes}) <= 2  # six trials in two processes
    assert {tuple(rest) for _, *rest in notes} == {("1", "1")}
    assert (tmp_path / "trials" / "0" / "log.txt").read_text() == "said on standard output\n"


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_own_trial_alone(engine: LocalEngine, tmp_path: Path) -> None:
    jobs = [job(tmp_path, f"{todo}{i}", todo) for i in range(3) for todo in ("note", "kill", "raise")][:7]
    outcomes = run(engine, jobs)
    for id, outcome in outcomes.items():
        assert outcome.status == {"note": "done", "kill": "lost", "raise": "failed"}[id[:-1]]
    assert outcomes["raise0"].reason == "ValueError: as it was told"
    assert "Traceback" in (tmp_path / "trials" / "raise0" / "log.txt").read_text()


def test_a_trial_continues_from_its_checkpoint_only_if_it_is_told_to(engine: LocalEngine, tmp_path: Path) -> None:
    for id in ("again", "anew"):
        checkpoint = tmp_path / "trials" / id / "checkpoints" / "last.ckpt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_text("weights")
    run(engine, [job(tmp_path, "again", "resume", resume=True), job(tmp_path, "anew", "note")])
    assert (tmp_path / "trials" / "again" / "resumed").read_text() == "weights"
    assert not (tmp_path / "trials" / "anew" / "checkpoints" / "last.ckpt").exists()


def test_an_interruption_reaches_the_trials_under_way(engine: LocalEngine, tmp_path: Path) -> None:
    try:
        engine.submit(job(tmp_path, "long", "wait"))
        while not (tmp_path / "trials" / "long" / "waiting").exists():
            assert engine.wait(0.1) == []
        engine.interrupt()
        ended: list[tuple[Job, Outcome]] = []
        begin = time.monotonic()
        while not ended and time.monotonic() - begin < 60:
            ended = engine.wait(0.5)
        assert [outcome.status for _, outcome in ended] == ["interrupted"]
    finally:
        engine._interrupting = False  # the other tests go on


def test_cores_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert local_slots(None, None, None) == Slots(8, 1)
    assert local_slots(2, None, None) == Slots(2, 4)
    assert local_slots(3, None, None) == Slots(3, 2)
    assert local_slots(None, 4, None) == Slots(2, 4)
    assert local_slots(16, None, None) == Slots(16, 1)


def test_gpus_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert local_slots(None, None, 1) == Slots(4, 4, ("0", "1", "2", "3"))
    assert local_slots(None, None, 2) == Slots(2, 8, ("0,1", "2,3"))
    assert local_slots(None, None, 0.5) == Slots(8, 2, ("0", "1", "2", "3"))
    assert local_slots(None, None, 0) == Slots(16, 1, ("",))
    assert local_slots(None, 8, 1) == Slots(2, 8, ("0", "1", "2", "3"))
    with pytest.raises(UserError, match="asks for 8, this machine has 4"):
        local_slots(None, None, 8)
    with pytest.raises(UserError, match="at least 1"):
        local_slots(0, None, None)


@pytest.mark.parametrize(
    ("visible", "options", "trainer", "number", "devices"),
    [
        (None, {}, {}, 4, ("0", "1", "2", "3")),
        (None, {}, {"accelerator": "gpu", "devices": 1}, 4, ("0", "1", "2", "3")),
        (None, {}, {"devices": "2"}, 2, ("0,1", "2,3")),
        (None, {}, {"devices": 3}, 1, ("0,1,2",)),
        (None, {}, {"devices": -1}, 1, ("0,1,2,3",)),
        (None, {}, {"devices": [0, 1]}, 2, ("0,1", "2,3")),
        (None, {"workers_per_gpu": 3}, {}, 12, ("0", "1", "2", "3")),
        (None, {"workers_per_gpu": 7}, {"devices": 1}, 28, ("0", "1", "2", "3")),
        (None, {"workers": 6}, {}, 6, ("0", "1", "2", "3")),
        (None, {}, {"accelerator": "cpu"}, 16, ()),
        ("5,2", {}, {}, 2, ("5", "2")),
        ("GPU-1a, GPU-2b,GPU-3c", {}, {"devices": 2}, 1, ("GPU-1a,GPU-2b",)),
        ("MIG-1,MIG-2", {"workers_per_gpu": 2}, {}, 4, ("MIG-1", "MIG-2")),
        ("", {}, {}, 16, ()),
    ],
)
def test_each_trial_sees_its_own_gpus(
    visible: str | None,
    options: dict[str, int],
    trainer: dict[str, Any],
    number: int,
    devices: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = 4 if visible is None else len([name for name in visible.split(",") if name])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    slots = slots_here(plan(trainer={"max_epochs": 1, **trainer}), **options)
    assert (slots.number, slots.devices) == (number, devices)


def test_what_the_plan_says_of_gpus_comes_first() -> None:
    assert gpus_of_trial(plan(gpus=0.25), None, 4) == 0.25
    assert gpus_of_trial(plan(gpus=0), None, 4) == 0
    assert gpus_of_trial(plan(gpus=2, trainer={"devices": 2}), None, 4) == 2
    assert gpus_of_trial(plan(), None, 0) is None
    for changes, workers_per_gpu, said in (
        ({"gpus": 1}, 2, "not both"),
        ({"gpus": 1, "trainer": {"devices": 2}}, None, "trainer.devices is 2 and gpus 1"),
        ({"trainer": {"devices": 2}}, 2, "leave out --workers-per-gpu"),
        ({"trainer": {"devices": [2, 3]}}, None, "give their number"),
        ({}, 0, "workers_per_gpu must be at least 1"),
    ):
        with pytest.raises(UserError, match=said):
            gpus_of_trial(plan(**changes), workers_per_gpu, 4)


def test_a_job_of_slurm_asks_for_gpus_where_the_plan_does() -> None:
    usual = SlurmOptions("short", 30)
    assert job_of(plan(), usual) == usual
    assert job_of(plan(cpus=4, gpus=0.5), usual) == SlurmOptions("short", 30, 4, 1)
    assert job_of(plan(trainer={"accelerator": "gpu"}), usual).gpus == 1
    assert job_of(plan(trainer={"accelerator": "gpu", "devices": 2}), usual).gpus == 2


def test_processes_are_counted_as_lightning_starts_them() -> None:
    assert processes({"accelerator": "cpu", "devices": 2}, 0) == 2
    assert processes({"accelerator": "cpu", "devices": "auto"}, 4) == 1
    assert processes({"accelerator": "auto", "devices": "auto"}, 1) == 1
    assert processes({"accelerator": "auto", "devices": "auto"}, 2) == 2
    assert processes({"devices": "0,1"}, 2) == 2
    assert processes({"devices": 1, "num_nodes": 2}, 1) == 2
    assert processes({}, 0) == 1


@pytest.mark.slow
def test_a_worker_and_what_it_starts_see_the_gpus_of_its_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a,GPU-2b")
    engine = LocalEngine(act, Slots(3, 1, ("GPU-1a", "GPU-2b")))
    try:
        outcomes = run(engine, [job(tmp_path, str(i), "gpus") for i in range(3)])
    finally:
        engine.close()
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    seen = [(tmp_path / "trials" / str(i) / "gpus").read_text() for i in range(3)]
    assert seen == ["GPU-1a", "GPU-2b", "GPU-1a"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1a,GPU-2b"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes have no groups")
@pytest.mark.parametrize("how", [pytest.param("closed", marks=pytest.mark.slow), "killed"])
def test_what_a_trial_has_started_ends_with_it(engine: LocalEngine, tmp_path: Path, how: str) -> None:
    if how == "closed":
        engine = LocalEngine(act, Slots(1, 1))
    try:
        engine.submit(job(tmp_path, "parent", "start"))
        note = tmp_path / "trials" / "parent" / "started"
        while not (note.exists() and note.read_text()):
            assert engine.wait(0.1) == []
        worker, child = map(int, note.read_text().split())
        if how == "killed":
            os.kill(worker, signal.SIGKILL)
            while not (ended := engine.wait(0.5)):
                pass
            assert ended[0][1].status == "lost"
    finally:
        if how == "closed":
            engine.close()
    end = time.monotonic() + 10
    while _runs(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process does; one that has ended and that nobody asks for does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
