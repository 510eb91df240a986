"""The Ray engine, on a cluster of two nodes in this machine."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from adaptconv_cli.main import main
from fake_trials import act, job

from benchmarks.sweep_kill import difference
from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.engines import Job, Outcome
from lit_adaptconv.sweep.engines.ray import RayEngine
from lit_adaptconv.sweep.progress import Progress
from lit_adaptconv.sweep.store import read_results

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings and unclosed sockets

PLAN: dict[str, Any] = {
    "name": "on_ray",
    "data": {"class_path": "Digits", "init_args": {"image_size": 8, "batch_size": 64}},
    "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
    "arms": {"standard": {"kind": "standard"}, "low_rank": {"kind": "adaptive_low_rank"}},
    "budgets": [200],
    "seeds": 2,
    "targets": [0.3, 0.5],
    "trainer": {"max_epochs": 15, "accelerator": "cpu"},
    "wandb": False,
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, so that trials run on the nodes, and two nodes with a core each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ray")
        from ray.cluster_utils import Cluster

        monkeypatch.setenv("RAY_worker_niceness", "0")  # its own 15 starves the trials on a machine that others use too
        monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield made
        made.shutdown()


def sweep(folder: Path, *args: str) -> int:
    plan = folder.parent / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN, sort_keys=False))
    return main(["sweep", "--config", str(plan), "--output", str(folder), "--cpus", "1", *args])


def test_ray_gives_the_table_of_the_local_engine_though_a_node_dies(cluster: Any, tmp_path: Path) -> None:
    assert sweep(tmp_path / "local", "--workers", "2") == 0
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    killed: list[float] = []

    def kill_a_node() -> None:
        for _ in range(1200):
            try:
                running = Progress.read(tmp_path / "ray").running
            except ValueError:
                running = ()
            if sum(trial.value is not None for trial in running) == 2:
                cluster.remove_node(nodes[0], allow_graceful=False)
                killed.append(time.monotonic())
                return
            time.sleep(0.1)

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    assert sweep(tmp_path / "ray", "--engine", "ray", "--ray-address", cluster.address) == 0
    killer.join()
    assert killed
    local, ray = (read_results(tmp_path / name) for name in ("local", "ray"))
    assert difference(local, ray) == []
    assert ray["status"].to_pylist() == ["done"] * 4


def end_of(engine: RayEngine, *jobs: Job) -> dict[str, Outcome]:
    for each in jobs:
        engine.submit(each)
    ended: dict[str, Outcome] = {}
    while len(ended) < len(jobs):
        ended |= {job.id: outcome for job, outcome in engine.wait(5.0)}
    return ended


@pytest.mark.parametrize("shared", [True, False])
def test_files_come_back_whether_or_not_the_file_system_is_shared(cluster: Any, tmp_path: Path, shared: bool) -> None:
    cluster.add_node(num_cpus=2)
    engine = RayEngine(act, tmp_path, cluster.address)
    try:
        if not shared:
            (tmp_path / ".ray").unlink()  # what a machine without this file system sees
        resumed = tmp_path / "trials" / "resumed"
        (resumed / "checkpoints").mkdir(parents=True)
        (resumed / "checkpoints" / "last.ckpt").write_text("weights")
        jobs = [job(tmp_path, "plain", "note"), job(tmp_path, "bad", "raise"), job(tmp_path, "resumed", "resume", True)]
        outcomes = end_of(engine, *jobs)
        assert {id: outcome.status for id, outcome in outcomes.items()} == {
            "plain": "done",
            "bad": "failed",
            "resumed": "done",
        }
        assert (tmp_path / "trials" / "plain" / "note").is_file()
        assert "as it was told" in (tmp_path / "trials" / "bad" / "log.txt").read_text()
        assert (resumed / "resumed").read_text() == "weights"
        assert end_of(engine, job(tmp_path, "killed", "kill"))["killed"].status == "lost"
    finally:
        engine.close()


def test_an_interruption_reaches_the_trials_of_the_cluster(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    engine = RayEngine(act, tmp_path, cluster.address)
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


def test_the_cluster_may_grow_while_a_sweep_runs(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=2)
    engine = RayEngine(act, tmp_path, cluster.address, cpus=2)
    try:
        assert engine.slots == 1
        cluster.add_node(num_cpus=4)
        begin = time.monotonic()
        while engine.slots != 3 and time.monotonic() - begin < 30:
            time.sleep(0.2)
        assert engine.slots == 3
    finally:
        engine.close()


def test_an_address_where_no_cluster_answers_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="no Ray cluster answers at 127.0.0.1:9"):
        RayEngine(act, tmp_path, "127.0.0.1:9")
