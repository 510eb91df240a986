"""The SLURM engine, on submitit's executor for one machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_trials import act, job

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.engines import Outcome
from lit_adaptconv.sweep.engines.slurm import JOBS, SlurmEngine, SlurmOptions

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # submitit's unclosed processes
pytest.importorskip("submitit")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmEngine]:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}")
    made = SlurmEngine(act, tmp_path, SlurmOptions(minutes=5), cluster="local")
    yield made
    made.close()


def ends(engine: SlurmEngine, number: int) -> dict[str, Outcome]:
    ended: dict[str, Outcome] = {}
    begin = time.monotonic()
    while len(ended) < number:
        ended |= {job.id: outcome for job, outcome in engine.wait(1.0)}
        assert time.monotonic() - begin < 120
    return ended


def waiting(engine: SlurmEngine, folder: Path) -> int:
    """The process of a job that waits."""
    while not (folder / "waiting").exists():
        assert engine.wait(0.1) == []
    return int((folder / "waiting").read_text())


def test_jobs_end_as_their_trials_do(engine: SlurmEngine, tmp_path: Path) -> None:
    checkpoint = tmp_path / "trials" / "again" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("weights")
    for each in (
        job(tmp_path, "plain", "note"),
        job(tmp_path, "bad", "raise"),
        job(tmp_path, "again", "resume", True),
        job(tmp_path, "killed", "kill"),
    ):
        engine.submit(each)
    outcomes = ends(engine, 4)
    found = {id: outcome.status for id, outcome in outcomes.items()}
    assert found == {"plain": "done", "bad": "failed", "again": "done", "killed": "lost"}
    assert outcomes["plain"].seconds is not None
    assert outcomes["bad"].reason == "ValueError: as it was told"
    assert "Traceback" in (tmp_path / "trials" / "bad" / "log.txt").read_text()
    assert (tmp_path / "trials" / "again" / "resumed").read_text() == "weights"


def test_an_interruption_reaches_the_jobs(engine: SlurmEngine, tmp_path: Path) -> None:
    engine.submit(job(tmp_path, "long", "wait"))
    waiting(engine, tmp_path / "trials" / "long")
    engine.interrupt()
    assert ends(engine, 1)["long"].status in ("interrupted", "lost")  # of a sweep that stops both mean the same


def test_a_job_whose_time_is_up_is_lost_not_failed(engine: SlurmEngine, tmp_path: Path) -> None:
    engine.submit(job(tmp_path, "long", "wait"))
    os.kill(waiting(engine, tmp_path / "trials" / "long"), signal.SIGUSR2)
    outcome = ends(engine, 1)["long"]
    assert (outcome.status, outcome.reason) == ("lost", "its time was up, or its machine was taken away")
    assert "KeyboardInterrupt" in (tmp_path / "trials" / "long" / "log.txt").read_text()


def test_a_job_that_slurm_starts_again_keeps_its_checkpoint(
    engine: SlurmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "trials" / "again" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("weights")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    engine.submit(job(tmp_path, "again", "resume"))
    assert ends(engine, 1)["again"].status == "done"


def test_the_jobs_of_a_killed_sweep_are_cancelled(
    engine: SlurmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    engine.submit(job(tmp_path, "long", "wait"))
    waiting(engine, tmp_path / "trials" / "long")
    (id,) = (tmp_path / JOBS).read_text().split()
    monkeypatch.setattr(engine._executor.job_class, "cancel", lambda job, check=True: cancelled.append(job.job_id))
    again = SlurmEngine(act, tmp_path, SlurmOptions(), cluster="local")
    assert cancelled == [id]
    monkeypatch.undo()
    again.close()
    assert not (tmp_path / JOBS).exists()


def test_a_job_asks_for_what_its_trial_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("submitit.AutoExecutor.update_parameters", lambda executor, **given: asked.update(given))
    SlurmEngine(act, tmp_path, SlurmOptions("short", 90, 4, 2), cluster="local")
    expected = {"timeout_min": 90, "cpus_per_task": 4, "gpus_per_node": 2, "slurm_partition": "short"}
    assert {name: asked[name] for name in expected} == expected


def test_without_slurm_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="where SLURM's commands are"):
        SlurmEngine(act, tmp_path, SlurmOptions())
