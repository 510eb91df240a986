from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_trials import act, job

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.engines import Engine, Job, Outcome
from lit_adaptconv.sweep.engines.local import LocalEngine, Slots, local_slots


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


def test_workers_are_warm_single_threaded_and_log_to_the_trials_folder(engine: LocalEngine, tmp_path: Path) -> None:
    outcomes = run(engine, [job(tmp_path, str(i), "note") for i in range(6)])
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert all(outcome.seconds is not None and outcome.seconds >= 0 for outcome in outcomes.values())
    notes = [path.read_text().split() for path in tmp_path.glob("trials/*/note")]
    assert len({pid for pid, *_ in notes}) <= 2  # six trials in two processes
    assert {tuple(rest) for _, *rest in notes} == {("1", "1")}
    assert (tmp_path / "trials" / "0" / "log.txt").read_text() == "said on standard output\n"


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


def test_an_interruption_reaches_the_trials_under_way(tmp_path: Path) -> None:
    engine = LocalEngine(act, Slots(1, 1))
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
        engine.close()


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
    with pytest.raises(UserError, match="asks for 8, this machine has 4"):
        local_slots(None, None, 8)
    with pytest.raises(UserError, match="at least 1"):
        local_slots(0, None, None)
