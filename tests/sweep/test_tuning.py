from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from sweep_cases import maker, plan, result

from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.plan import Search, Tuning
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.sweep.tuning import BLIND, Tuner
from lit_adaptconv.train.result import RunResult

SPACE = {"optimizer.lr": Search(0.001, 1.0, log=True), "data.batch_size": Search(choices=[32, 64])}


def best_at_a_tenth(trial: Trial) -> RunResult:
    """The nearer the learning rate is to 0.1, the better."""
    assert trial.tuned is not None
    return result(trial, [1 / (1 + abs(trial.tuned["optimizer.lr"] - 0.1))])


def tuner(path: Path, trials: int = 5, parallel: int = 1, uid: str = "uid") -> Tuner:
    tuning = Tuning(trials, SPACE, parallel=parallel)
    path.mkdir(parents=True, exist_ok=True)
    return Tuner(maker(plan(tuning=tuning, budgets=[300])), tuning, SweepFolder(path), uid, lambda trials: trials)


def drain(made: Tuner, first: Sequence[Trial], newest_first: bool = False) -> list[Trial]:
    """Run everything, in the order in which it comes or the other way round."""
    waiting, ran = list(first), []
    while waiting:
        trial = waiting.pop(-1 if newest_first else 0)
        ran.append(trial)
        waiting += made.follow(trial, best_at_a_tenth(trial))
    return ran


def what(trials: list[Trial]) -> set[tuple[str, str]]:
    return {(trial.id, str(trial.tuned)) for trial in trials}


def test_every_arm_at_every_budget_gets_the_same_number_of_trials_then_fresh_seeds(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    ran = drain(made, made.start())
    tuned = Counter((t.arm, t.budget) for t in ran if t.tuning is not None)
    compared = Counter((t.arm, t.budget) for t in ran if t.tuning is None)
    assert set(tuned.values()) == {5}
    assert set(compared.values()) == {3}
    assert len(tuned) == len(compared) == 2
    assert not {t.seed for t in ran if t.tuning is not None} & {t.seed for t in ran if t.tuning is None}


def test_the_comparison_uses_the_best_that_was_found(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    ran = drain(made, made.start())
    for pair in {(t.arm, t.budget) for t in ran}:
        of_pair = [t for t in ran if (t.arm, t.budget) == pair]
        best = max((t for t in of_pair if t.tuning is not None), key=lambda t: best_at_a_tenth(t).val_value or 0)
        assert all(t.tuned == best.tuned for t in of_pair if t.tuning is None)


def test_values_stay_in_the_space(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    for trial in drain(made, made.start()):
        assert trial.tuned is not None
        assert 0.001 <= trial.tuned["optimizer.lr"] <= 1.0
        assert trial.tuned["data.batch_size"] in (32, 64)


def test_all_arms_and_budgets_are_offered_the_same_values_until_results_are_looked_at(tmp_path: Path) -> None:
    tuning = Tuning(BLIND + 3, SPACE)
    made = Tuner(maker(plan(tuning=tuning)), tuning, SweepFolder(tmp_path), "uid", lambda trials: trials)
    offered: dict[tuple[str, float | None], list[str]] = {}
    waiting = made.start()
    while waiting:
        trial = waiting.pop(0)
        if trial.tuning is not None:
            assert trial.tuned is not None
            offered.setdefault((trial.arm, trial.budget), []).append(str(trial.tuned))
            best = 0.003 if trial.arm == "standard" else 0.3  # another for each arm, so results pull them apart
            waiting += made.follow(trial, result(trial, [1 / (1 + abs(trial.tuned["optimizer.lr"] - best))]))
    assert len(offered) == 4
    assert len({tuple(values[:BLIND]) for values in offered.values()}) == 1
    assert len({tuple(values) for values in offered.values()}) > 1
    assert len(set(next(iter(offered.values())))) == BLIND + 3


def test_the_search_does_not_depend_on_the_order_in_which_other_arms_end(tmp_path: Path) -> None:
    one, other = tuner(tmp_path / "one"), tuner(tmp_path / "other")
    assert what(drain(one, one.start())) == what(drain(other, other.start(), newest_first=True))


def test_a_search_that_is_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = tuner(tmp_path / "whole")
    expected = what(drain(whole, whole.start()))
    ran: list[Trial] = []
    for _ in range(3):  # killed after four trials, with others under way
        made = tuner(tmp_path / "cut")
        waiting = list(made.start())
        for _ in range(4):
            ran.append(waiting.pop(0))
            waiting += made.follow(ran[-1], best_at_a_tenth(ran[-1]))
    made = tuner(tmp_path / "cut")
    ran += drain(made, made.start())
    assert what(ran) == expected


def test_a_finished_search_leads_to_the_same_comparison_at_once(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    ran = drain(made, made.start())
    again = tuner(tmp_path).start()
    assert what(again) == what([t for t in ran if t.tuning is None])


def test_trials_that_fail_or_diverge_count_and_are_not_chosen(tmp_path: Path) -> None:
    made = tuner(tmp_path, trials=4)
    waiting, ran, good = list(made.start()), [], Counter[tuple[str, int | None]]()
    while waiting:
        trial = waiting.pop(0)
        ran.append(trial)
        pair = (trial.arm, trial.budget)
        good[pair] += trial.tuning is not None
        if trial.tuning is None or good[pair] == 3:
            ended = best_at_a_tenth(trial)
        else:
            ended = result(trial, [0.999], status="failed" if good[pair] % 2 else "diverged")
        waiting += made.follow(trial, ended)
    for pair in good:
        tuning = [t for t in ran if t.tuning is not None and (t.arm, t.budget) == pair]
        assert len(tuning) == 4
        chosen = {str(t.tuned) for t in ran if t.tuning is None and (t.arm, t.budget) == pair}
        assert chosen == {str(tuning[2].tuned)}


def test_where_every_tuning_trial_failed_the_plans_own_values_are_used(tmp_path: Path) -> None:
    made = tuner(tmp_path, trials=2)
    waiting = list(made.start())
    compared = []
    while waiting:
        trial = waiting.pop(0)
        compared += [trial] if trial.tuning is None else []
        waiting += made.follow(trial, result(trial, [], status="failed"))
    assert len(compared) == 6
    assert all(trial.tuned is None for trial in compared)


def test_an_interrupted_trial_is_the_first_of_the_next_sweep(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    first = made.start()
    assert made.follow(first[0], result(first[0], [0.5], status="interrupted")) == []
    assert what(tuner(tmp_path).start()) == what(first)


def test_several_trials_of_a_search_may_run_at_the_same_time(tmp_path: Path) -> None:
    made = tuner(tmp_path, parallel=3)
    first = made.start()
    assert len(first) == 2 * 3
    assert Counter((t.arm, t.budget) for t in drain(made, first) if t.tuning is not None).most_common()[-1][1] == 5


def test_another_plan_begins_a_search_of_its_own(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    drain(made, made.start())
    tuning = Tuning(5, SPACE)
    other = plan(tuning=tuning, budgets=[300], trainer={"max_epochs": 99})
    assert all(
        trial.tuning is not None
        for trial in Tuner(maker(other), tuning, SweepFolder(tmp_path), "uid", lambda trials: trials).start()
    )


@pytest.mark.parametrize("uid", ["other"])
def test_a_trial_that_another_machine_runs_is_not_taken_from_it(tmp_path: Path, uid: str) -> None:
    mine = tuner(tmp_path, trials=2).start()
    theirs = tuner(tmp_path, trials=2, uid=uid).start()
    assert not what(list(mine)) & what(list(theirs))
