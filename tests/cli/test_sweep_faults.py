"""What goes wrong in a trial or around it costs no other trial, is written down, and is all that is run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.sweep.progress import Progress
from lit_adaptconv.sweep.store import read_results

from .silent_server import misbehaving_server

FAULTS = ("none", "raise", "diverge", "kill", "memory", "disk")
PLAN: dict[str, Any] = {
    "name": "faults",
    "data": {"class_path": "Digits", "init_args": {"image_size": 8, "batch_size": 256}},
    "backbone": {"class_path": "faulty_backbone.Faulty"},
    "budgets": [200],
    "seeds": 1,
    "targets": [0.02],
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1},
    "retries": 1,
}


def write_plan(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
    return path


@pytest.mark.slow
def test_faults_cost_no_other_trial_and_only_they_are_run_again(tmp_path: Path) -> None:
    """One that raises, one that diverges, one killed, one short of memory, one on a full disk."""
    flag = tmp_path / "faults"
    flag.touch()
    arms = {fault: {"backbone_options": {"fault": fault, "while_exists": str(flag)}} for fault in FAULTS}
    plan = write_plan(tmp_path / "plan.yaml", arms=arms, wandb=False)
    args = ["sweep", "--config", str(plan), "--output", str(tmp_path / "run"), "--workers", "1"]
    assert main(args) == 3
    rows = {row["arm"]: row for row in read_results(tmp_path / "run").to_pylist()}
    assert {arm: row["status"] for arm, row in rows.items()} == {
        "none": "done",
        "raise": "failed",
        "diverge": "diverged",
        "kill": "failed",
        "memory": "failed",
        "disk": "failed",
    }
    assert rows["none"]["reason"] is None
    assert "the network has a fault" in rows["raise"]["reason"]
    assert "nan" in rows["diverge"]["reason"]
    assert "killed by the system" in rows["kill"]["reason"]
    assert "memory" in rows["memory"]["reason"]
    assert "No space left on device" in rows["disk"]["reason"]
    assert all("\n" not in (row["reason"] or "") for row in rows.values())
    log = (tmp_path / "run" / "trials" / rows["raise"]["trial"] / "log.txt").read_text()
    assert "Traceback" in log

    flag.unlink()
    untouched = tmp_path / "run" / "trials" / rows["none"]["trial"] / "result.json"
    before = untouched.stat().st_mtime_ns
    assert main(args) == 0
    assert set(read_results(tmp_path / "run")["status"].to_pylist()) == {"done"}
    assert untouched.stat().st_mtime_ns == before


@pytest.mark.slow
def test_an_unreachable_weights_and_biases_server_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    plan = write_plan(tmp_path / "plan.yaml", arms={"plain": {}}, seeds=2)
    assert main(["sweep", "--config", str(plan), "--output", str(tmp_path / "run"), "--workers", "1"]) == 0
    assert len(list((tmp_path / "run").glob("trials/*/wandb/offline-run-*"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["nothing", "nothing but the first page"])
def test_a_server_that_does_not_answer_holds_a_sweep_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    plan = write_plan(tmp_path / "plan.yaml", arms={"plain": {}}, seeds=3)
    with misbehaving_server(how) as (address, _):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert main(["sweep", "--config", str(plan), "--output", str(tmp_path / "run"), "--workers", "1"]) == 0
    trials = sorted((tmp_path / "run").glob("trials/*"), key=lambda trial: (trial / "result.json").stat().st_mtime)
    said = ["can't be reached" in (trial / "log.txt").read_text() for trial in trials]
    assert said == [how != "nothing", False, False]
    assert len(list((tmp_path / "run").glob("trials/*/wandb/offline-run-*"))) == 3


def start(plan: Path, folder: Path) -> subprocess.Popen[str]:
    args = ["sweep", "--config", str(plan), "--output", str(folder), "--workers", "2", "--cpus", "1"]
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "adaptconv_cli.main", *args],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_until_running(process: subprocess.Popen[str], folder: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            pytest.fail(f"it ended too early: {process.communicate()[0]}")
        try:
            running = Progress.read(folder).running
        except ValueError:
            running = ()
        if any(trial.value is not None for trial in running):
            return
        time.sleep(0.2)
    pytest.fail("no trial has begun to learn")


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_next_sweep_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "arms": {"plain": {}, "low_rank": {"kind": "adaptive_low_rank"}},
        "wandb": False,
        "trainer": {"max_epochs": 60, "accelerator": "cpu"},
    }
    plan = write_plan(tmp_path / "plan.yaml", **changes)
    process = start(plan, tmp_path / "stopped")
    wait_until_running(process, tmp_path / "stopped")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "Stopping" in out
    rows = read_results(tmp_path / "stopped").to_pylist()
    assert {row["status"] for row in rows} == {"interrupted"}
    assert any(row["val_metric"] is not None for row in rows)

    resumed = start(plan, tmp_path / "stopped")
    whole = start(plan, tmp_path / "whole")
    for process in (resumed, whole):
        out, _ = process.communicate(timeout=240)
        assert process.returncode == 0, out
    columns = ["trial", "val_metric", "best_val_metric", "test_metric", "test_loss", "steps", "training_flops"]
    tables = [read_results(tmp_path / name).select(columns) for name in ("stopped", "whole")]
    assert tables[0].equals(tables[1])


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    plan = write_plan(
        tmp_path / "plan.yaml", arms={"plain": {}}, wandb=False, trainer={"max_epochs": 500, "accelerator": "cpu"}
    )
    process = start(plan, tmp_path / "run")
    wait_until_running(process, tmp_path / "run")
    workers = children(process.pid)
    assert workers
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    time.sleep(1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    """Worker processes of a sweep."""
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(id) for id in ids if b"spawn_main" in Path(f"/proc/{id}/cmdline").read_bytes()]
