from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from adaptconv_cli.main import main

from benchmarks import sweep_kill


@pytest.mark.slow
def test_a_sweep_that_is_killed_three_times_ends_with_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    plan = {
        "name": "killed",
        "data": {"class_path": "Digits", "init_args": {"image_size": 8, "batch_size": 64}},
        "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
        "arms": {"low_rank": {"kind": "adaptive_low_rank"}},
        "budgets": [200],
        "seeds": 3,  # two are trained together and one alone
        "targets": [0.3, 0.5],
        "trainer": {"max_epochs": 30, "accelerator": "cpu"},
        "wandb": False,
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    options = ("--workers", "2", "--cpus", "1", "--stack", "2")
    whole = sweep_kill.Sweep(tmp_path / "plan.yaml", tmp_path / "whole", options)
    assert main(["sweep", "--config", str(whole.plan), "--output", str(whole.folder), *options]) == 0
    killed = sweep_kill.Sweep(tmp_path / "plan.yaml", tmp_path / "killed", options)
    results, kills = sweep_kill.disturbed(killed, 3, (0.0, 0.5), random.Random(0), in_training=True)
    assert sweep_kill.difference(whole.results(), results) == []
    assert set(results["status"].to_pylist()) == {"done"}
    assert set(results["stacked"].to_pylist()) == {None, 2}
    assert kills == ["the driver", "a worker", "the driver"]


def test_the_comparison_of_results_sees_a_difference(tmp_path: Path) -> None:
    from sweep_cases import maker, plan, result, sweep

    from lit_adaptconv.sweep.folder import SweepFolder
    from lit_adaptconv.sweep.store import Store

    of = plan()
    trials = list(maker(of).all())[:2]
    tables = []
    for accuracy, seconds in ((0.6, 1.0), (0.6, 2.0), (0.7, 1.0)):
        store = Store(SweepFolder(tmp_path), sweep(of, trials))
        for trial in trials:
            made = result(trial, [0.2, accuracy])
            made.training_seconds = seconds
            made.write(store.folder.trial(trial) / "result.json")
        tables.append(store.results())
    assert sweep_kill.difference(tables[0], tables[1]) == []
    assert set(sweep_kill.difference(tables[0], tables[2])) == {"val_metric", "best_val_metric", "test_metric"}
