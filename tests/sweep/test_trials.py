from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sweep_cases import CODE, maker, plan

from lit_adaptconv.data import Digits, ImageFolder
from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.identity import code_version, data_fingerprint
from lit_adaptconv.sweep.plan import Arm, Plan, Search, Tuning
from lit_adaptconv.sweep.trial import fit_config, pairs, shared_settings


def ids(of: Plan, code: str = CODE, data: str | None = None) -> list[str]:
    return [trial.id for trial in maker(of, code, data).all()]


def test_there_is_a_trial_for_every_arm_budget_and_seed_and_each_has_an_id_of_its_own() -> None:
    trials = list(maker(plan()).all())
    assert len({trial.id for trial in trials}) == len(trials) == 2 * 2 * 3
    assert {(t.arm, t.budget, t.seed) for t in trials} == {
        (arm, budget, seed) for arm in ("standard", "low_rank") for budget in (300, 600) for seed in (0, 1, 2)
    }


def test_trial_i_of_every_arm_and_budget_has_the_same_seed() -> None:
    for trial in maker(plan(first_seed=40)).all():
        assert trial.seed == 40 + trial.pair


def test_tuning_trials_of_all_arms_have_the_same_seeds_and_none_of_the_comparisons() -> None:
    made = maker(plan(seeds=1000))
    tuning = [[made.tuning(pair, n, {"optimizer.lr": 0.1}) for n in range(5)] for pair in pairs(made.plan)]
    seeds = {tuple(trial.seed for trial in group) for group in tuning}
    assert len(seeds) == 1
    assert not set(seeds.pop()) & {trial.seed for trial in made.all()}


def test_ids_are_the_same_in_every_process() -> None:
    # Written down once: they must not depend on the hash seed, the order of a dict or the time.
    assert ids(plan()) == ids(plan())
    assert ids(plan())[0].endswith("-c0dec0de")


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": {"max_epochs": 3}},
        {"label_smoothing": 0.1},
        {"evaluate_every": 0.5},
        {"first_seed": 100},
        {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.02}}},
        {"data": {"class_path": "lit_adaptconv.data.Digits", "init_args": {"batch_size": 32}}},
        {"backbone": {"class_path": "lit_adaptconv.models.ConvNet", "init_args": {"kernel_size": 5}}},
        {"budgets": [301, 601]},
        {"arms": {"a": Arm("adaptive"), "b": Arm("adaptive_low_rank", {"rank": 2})}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_numbers_changes_the_ids(change: dict[str, Any]) -> None:
    assert not set(ids(plan())) & set(ids(plan(**change)))


def test_other_code_and_other_images_change_the_ids() -> None:
    assert not set(ids(plan())) & set(ids(plan(), code="0.1.0+00000000"))
    assert not set(ids(plan())) & set(ids(plan(), data="fingerprint"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"targets": [0.7]},
        {"primary_arm": "low_rank"},
        {"wandb": False},
        {"tags": ["x"]},
        {"cpus": 4},
        {"retries": 0},
        {"arms": {"renamed": plan().arms["standard"], "too": plan().arms["low_rank"]}},
        {"data": {"class_path": "lit_adaptconv.data.Digits", "init_args": {"batch_size": 64, "root": "/elsewhere"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_change_the_numbers_keeps_the_ids(change: dict[str, Any]) -> None:
    assert ids(plan()) == ids(plan(**change))


def test_a_further_budget_seed_or_arm_adds_trials_and_keeps_the_others() -> None:
    before = set(ids(plan()))
    more = plan().arms | {"adaptive": Arm("adaptive")}
    assert before < set(ids(plan(budgets=[300, 600, 900])))
    assert before < set(ids(plan(seeds=4)))
    assert before < set(ids(plan(arms=more)))


def test_all_arms_of_a_pair_get_the_same_settings_but_their_own() -> None:
    made = plan(evaluate_every=0.25)
    one, other = (shared_settings(made, arm, 300, {"optimizer.lr": 0.5}) for arm in made.arms.values())
    assert one["data"] == other["data"]
    assert one["trainer"] == other["trainer"]
    differing = {key for key in one["model"] if one["model"][key] != other["model"][key]}
    assert differing == {"kind", "kind_options", "backbone"}
    assert one["model"]["optimizer"]["init_args"]["lr"] == 0.5
    assert one["trainer"]["val_check_interval"] == 0.25
    assert made.optimizer["init_args"]["lr"] == 0.01  # the plan itself stays as it is


def test_a_tuned_name_that_the_plan_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="the plan has no scheduler"):
        shared_settings(plan(), Arm(), 300, {"scheduler.pct_start": 0.1})
    with pytest.raises(UserError, match="not a single value"):
        shared_settings(plan(), Arm(), 300, {"optimizer": 0.1})


def test_a_tuning_trial_does_not_read_the_test_set() -> None:
    made = maker(plan(tuning=Tuning(2, {"optimizer.lr": Search(0.1, 1.0)})))
    tuning = made.tuning(("standard", 300), 0, {"optimizer.lr": 0.1})
    comparison = made.comparison(("standard", 300))[0]
    assert fit_config(made.plan, tuning, "r", "tuning", "u")["run"]["test"] is False
    assert fit_config(made.plan, comparison, "r", "trials", "u")["run"]["test"] is True


def test_runs_are_grouped_by_sweep_and_typed_by_arm() -> None:
    made = plan(tags=["mine"])
    run = fit_config(made, next(maker(made).all()), "root", "trials", "0123abcd")["run"]
    assert (run["group"], run["job_type"]) == ("small", "standard")
    assert {"mine", "small"} <= set(run["tags"])
    assert run["wandb_id"].startswith("0123abcd-")


def test_the_code_version_covers_the_package_and_the_users_own_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "my_network_of_this_test.py"
    module.write_text("class Net: ...\n")
    plain, own = code_version(), code_version(["my_network_of_this_test.Net"])
    module.write_text("class Net: size = 2\n")
    assert len({plain, own, code_version(["my_network_of_this_test.Net"])}) == 3
    assert code_version(["lit_adaptconv.models.ConvNet", "torch.optim.AdamW"]) == plain


def test_a_users_images_are_recognised_wherever_the_folder_stands(tmp_path: Path) -> None:
    def images(folder: Path, size: int) -> ImageFolder:
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for i in range(2):
                (folder / name / f"{i}.png").write_bytes(b"x" * (size + i))
        return ImageFolder(str(folder))

    first = data_fingerprint(images(tmp_path / "here", 10))
    assert first == data_fingerprint(images(tmp_path / "there", 10))
    assert first != data_fingerprint(images(tmp_path / "there", 11))
    assert data_fingerprint(Digits()) is None


def test_a_trial_is_plain_data() -> None:
    assert all(not callable(value) for value in dataclasses.asdict(next(maker(plan()).all())).values())
