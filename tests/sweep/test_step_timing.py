"""The step of every network is timed by turns, when a sweep is over and where that is fair and cheap."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_cases import Remembered
from sweep_cases import maker, plan, result, sweep

import lit_adaptconv as la
from lit_adaptconv.sweep import step_timing
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.plan import ArmBudget, Plan, Search, Tuning
from lit_adaptconv.sweep.run import Prepared
from lit_adaptconv.sweep.step_costs import STEP_COSTS, read_step_costs
from lit_adaptconv.sweep.step_timing import FEWEST, MOST, time_steps
from lit_adaptconv.sweep.store import read_results


class Clock:
    """A clock that a turn moves on, and what it says that a step takes."""

    def __init__(self, turn: float) -> None:
        self.turn, self.now, self.calls = turn, 0.0, list[ArmBudget]()

    def step(self, prepared: Prepared, at: ArmBudget) -> float:
        self.now += self.turn
        self.calls.append(at)
        return (at.budget or 0) + len(self.calls)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(turn=0.2)
    monkeypatch.setattr(step_timing, "step_seconds", made.step)
    monkeypatch.setattr(step_timing, "device_name", lambda device: "cpu")
    monkeypatch.setattr("lit_adaptconv.sweep.step_timing.time.perf_counter", lambda: made.now)
    return made


def finished(
    folder: Path, of: Plan | None = None, seconds: float = 20.0, **changes: Any
) -> tuple[Prepared, Remembered]:
    """A sweep of twelve trials that were trained for so long each."""
    made = maker(of or plan())
    trials = list(made.all()) if made.plan.tuning is None else list(maker(plan()).all())
    store = Remembered(SweepFolder(folder), sweep(made.plan, trials))
    store.results_of = {trial.id: result(trial, [0.6, 0.95]) for trial in trials}
    for one in store.results_of.values():
        one.training_seconds = seconds
    for name, value in changes.items():
        setattr(store.results_of[trials[0].id], name, value)
    data: Any = None
    return Prepared(made, data, {}), store


def test_networks_take_turns_and_the_median_of_each_is_kept(clock: Clock, tmp_path: Path) -> None:
    prepared, store = finished(tmp_path)  # 240 s of training: 12 s, of which a round of four takes 0.8
    assert time_steps(prepared, store, lambda: False)
    costs = read_step_costs(tmp_path)
    assert costs is not None
    assert FEWEST <= costs.turns <= MOST
    assert clock.now <= step_timing.SHARE * 240
    networks = list(dict.fromkeys(clock.calls))
    assert len(networks) == 4
    assert clock.calls == networks * costs.turns
    for at, cost in zip(networks, costs.costs, strict=True):
        places = [place + 1 for place, call in enumerate(clock.calls) if call == at]
        assert (cost.arm, cost.budget) == (at.arm, at.budget)
        assert cost.seconds == pytest.approx((at.budget or 0) + sum(places) / len(places))
    assert (costs.device, costs.threads) == ("cpu", 1)
    table = store.results().to_pylist()
    assert {(row["arm"], row["budget"], row["step_seconds"]) for row in table} == {
        (cost.arm, cost.budget, cost.seconds) for cost in costs.costs
    }


def test_what_was_timed_is_not_timed_again_but_with_another_network_all_are(clock: Clock, tmp_path: Path) -> None:
    few = plan(budgets=[300])
    assert time_steps(*finished(tmp_path, few), lambda: False)
    calls = len(clock.calls)
    assert not time_steps(*finished(tmp_path, few), lambda: False)
    assert len(clock.calls) == calls
    assert time_steps(*finished(tmp_path), lambda: False)
    assert len({*clock.calls[calls:]}) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": 0.5},  # it would take longer than a twentieth of the training
        {"seconds": 3.0},  # and here after the first turn that is seen
        {"device": "another processor"},
        {"threads": 2},
        {"of": plan(trainer={"devices": 2})},
        {"of": plan(tuning=Tuning(trials=2, space={"optimizer.lr": Search(low=1e-4, high=1e-2)}))},
    ],
    ids=["short", "not long enough", "device", "threads", "devices", "tuning"],
)
def test_where_it_would_not_be_fair_or_cheap_nothing_is_timed(
    changes: dict[str, Any], clock: Clock, tmp_path: Path
) -> None:
    clock.turn = 0.8
    assert not time_steps(*finished(tmp_path, **changes), lambda: False)
    assert read_step_costs(tmp_path) is None


def test_an_interruption_ends_it_at_once(clock: Clock, tmp_path: Path) -> None:
    assert not time_steps(*finished(tmp_path), lambda: len(clock.calls) >= 5)
    assert len(clock.calls) == 5
    assert read_step_costs(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[", '{"device": 1}'])
def test_a_damaged_file_is_as_none(text: str, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / STEP_COSTS).write_text(text)
    assert read_step_costs(tmp_path) is None
    _, store = finished(tmp_path)
    assert {row["step_seconds"] for row in store.results().to_pylist()} == {None}


@pytest.mark.slow
def test_a_sweep_ends_with_the_costs_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_timing, "SHARE", 10.0)
    content = {
        "name": "timed",
        "data": {"class_path": "Digits", "init_args": {"image_size": 12}},
        "backbone": {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}},
        "arms": {"standard": {"kind": "standard"}, "separable": {"kind": "separable"}},
        "seeds": 2,
        "targets": [0.05],
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "wandb": False,
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content))
    tables = la.sweep(tmp_path / "plan.yaml", tmp_path / "out", workers=1)
    costs = read_step_costs(tmp_path / "out")
    assert costs is not None
    rows = read_results(tmp_path / "out").to_pylist()
    assert {row["step_seconds"] for row in rows} == {cost.seconds for cost in costs.costs}
    (row,) = tables.comparisons[tables.comparisons["measure"] == "seconds"].itertuples()
    assert row.step_cost == "by turns"
    (steps,) = tables.comparisons[tables.comparisons["measure"] == "steps"].itertuples()
    by_arm = {cost.arm: cost.seconds for cost in costs.costs}
    if math.isfinite(row.estimate):
        assert row.estimate == pytest.approx(steps.estimate * by_arm["separable"] / by_arm["standard"])
