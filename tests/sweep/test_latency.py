"""Each different network of a sweep is timed once, and its latency reaches the sweep's tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sweep_cases import copied, plan, result, untrained

import lit_adaptconv as la
from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import LATENCY, read_latencies
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.latency import measure_latencies
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.store import Store, read_results

QUICK = {"batch_size": 2, "rounds": 1, "torch_only": True}


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process that measures memory, which takes seconds."""
    monkeypatch.setattr("lit_adaptconv.export.latency.peaks_of_inference", lambda files, threads: [(1, 2)] * len(files))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep of two networks."""
    return untrained(tmp_path_factory.mktemp("small"), plan(budgets=[300], seeds=1))


def test_each_different_network_is_timed_once_and_all_of_its_trials_have_its_latency(tmp_path: Path) -> None:
    store = untrained(tmp_path)
    (measured,) = measure_latencies([tmp_path], **QUICK)
    networks = measured.latencies.networks
    assert [(n.arm, n.budget) for n in networks] == [(a, b) for b in (300, 600) for a in ("standard", "low_rank")]
    assert measured.notes == ()
    table = read_results(tmp_path)
    assert table.schema.equals(store.results().schema)
    for row in table.to_pylist():
        (mine,) = [n for n in networks if (n.arm, n.budget) == (row["arm"], row["budget"])]
        assert mine.parameters == row["parameters"]
        assert row["torch_latency"] == mine.torch.image.median
        assert row["torch_latency_lower"] == mine.torch.image.lower
        assert row["torch_batch_latency_upper"] == mine.torch.batch.upper
        assert row["torch_memory"] == 2
        assert row["onnx_latency"] is None
        assert (row["latency_threads"], row["latency_batch_size"]) == (1, 2)
        assert row["latency_device"].startswith("cpu")
        assert "torch" in json.loads(row["latency_versions"])
    summary = la.compare(tmp_path).summary
    assert sorted(summary["torch_latency"]) == sorted(n.torch.image.median for n in networks)


@pytest.mark.slow
def test_with_onnxruntime_a_kind_that_cannot_be_exported_has_the_reason(tmp_path: Path) -> None:
    arms = {"standard": {"kind": "standard"}, "uncertain": {"kind": "foreign_conv.UncertainConv"}}
    content = {"name": "small", "arms": arms, "budgets": [300], "seeds": 1, "wandb": False}
    of = plan()
    content |= {"data": dict(of.data), "backbone": dict(of.backbone)}
    untrained(tmp_path, read_plan(content))
    measure_latencies([tmp_path], batch_size=2, rounds=1)
    rows = {row["arm"]: row for row in read_results(tmp_path).to_pylist()}
    assert rows["standard"]["onnx_latency"] > 0
    assert rows["standard"]["onnx_reason"] is None
    assert rows["standard"]["onnx_bytes"] > 0
    assert rows["standard"]["onnx_memory"] == 1
    assert rows["uncertain"]["onnx_latency"] is None
    assert rows["uncertain"]["torch_latency"] > 0
    assert "cannot be exported to ONNX" in rows["uncertain"]["onnx_reason"]


def test_measuring_again_replaces_and_says_what_was_measured_elsewhere(small: Store, tmp_path: Path) -> None:
    copied(small, tmp_path)
    measure_latencies([tmp_path], **QUICK)
    before = read_latencies(tmp_path)
    assert before is not None
    (again,) = measure_latencies([tmp_path], **QUICK)
    assert again.notes == ()
    assert again.latencies != before
    replace(before, device="cpu (another chip)").write(tmp_path)
    (here,) = measure_latencies([tmp_path], **QUICK)
    (note,) = here.notes
    assert note.startswith("They replace those that were measured on cpu (another chip), 1 thread")
    assert read_latencies(tmp_path) == here.latencies


def test_a_network_that_has_changed_since_has_no_latency(small: Store, tmp_path: Path) -> None:
    store = copied(small, tmp_path)
    (measured,) = measure_latencies([tmp_path], **QUICK)
    first, *others = measured.latencies.networks
    other = replace(measured.latencies, networks=(replace(first, parameters=(first.parameters or 0) + 1), *others))
    other.write(tmp_path)
    latencies = {row["arm"]: row["torch_latency"] for row in store.results().to_pylist()}
    assert latencies["standard"] is None
    assert latencies["low_rank"] > 0


def test_a_damaged_file_costs_the_tables_nothing(small: Store, tmp_path: Path) -> None:
    store = copied(small, tmp_path)
    (tmp_path / LATENCY).write_text('{"device"')
    assert store.results()["torch_latency"].null_count == 2


def test_a_trial_that_is_done_is_preferred_and_a_network_without_one_is_told(tmp_path: Path) -> None:
    store = untrained(tmp_path, plan(budgets=[300], seeds=2))
    trials = store.sweep.trials
    for trial in trials:
        place = store.folder.trial(trial)
        if trial.arm == "low_rank":
            for file in place.iterdir():
                file.unlink()
        elif trial.pair == 0:
            (place / "config.yaml").write_text("{}")  # it would fail
            result(trial, [], "failed", "a fault").write(place / "result.json")
    (measured,) = measure_latencies([tmp_path], **QUICK)
    assert [n.arm for n in measured.latencies.networks] == ["standard"]
    assert measured.notes == ("low_rank 300 was not measured: no trial of it has a network here.",)


def test_sweeps_and_runs_are_timed_together_and_each_keeps_its_own(small: Store, tmp_path: Path) -> None:
    store = copied(small, tmp_path / "a")
    trial = store.folder.trial(store.sweep.trials[0])
    found = measure_latencies([tmp_path / "a", trial, trial.parent, tmp_path / "a"], **QUICK)
    assert [len(one.latencies.networks) for one in found] == [2, 1, 1]
    assert found[1].folder == trial
    assert [one.latencies.networks[0].arm for one in found] == ["standard", "trials", "trials"]
    assert all(read_latencies(one.folder) == one.latencies for one in found)


def test_what_cannot_be_measured_is_one_line(small: Store, tmp_path: Path) -> None:
    store = copied(small, tmp_path / "a")
    with pytest.raises(UserError, match="no run of `adaptconv fit` found"):
        measure_latencies([tmp_path / "nowhere"], **QUICK)
    with SweepFolder(tmp_path / "a").locked(), pytest.raises(UserError, match="a sweep is running in"):
        measure_latencies([tmp_path / "a"], **QUICK)
    store.write()
    for trial in store.sweep.trials:
        for file in store.folder.trial(trial).iterdir():
            file.unlink()
    with pytest.raises(UserError, match="has no network to measure"):
        measure_latencies([tmp_path / "a"], **QUICK)
    assert read_latencies(tmp_path / "a") is None


def test_tables_of_earlier_versions_have_the_columns_empty(small: Store, tmp_path: Path) -> None:
    store = copied(small, tmp_path)
    store.write()
    path = tmp_path / "results.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop([n for n in table.column_names if "latency" in n or n.startswith("onnx_")]), path)
    assert read_results(tmp_path)["onnx_latency"].null_count == table.num_rows


def test_the_weights_are_those_that_were_trained(small: Store, tmp_path: Path) -> None:
    """A checkpoint that can't be read is no reason to time another network."""
    store = copied(small, tmp_path)
    checkpoint = store.folder.trial(store.sweep.trials[0]) / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.write_text("nothing")
    with pytest.raises(UserError, match=r"last\.ckpt"):
        measure_latencies([tmp_path], **QUICK)
