from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sweep_cases import CODE, maker, plan
from torch.nn import Conv2d

from lit_adaptconv.data import Digits, ImageFolder
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.separable import SeparableConv2d
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.ops.choice import VARIABLE
from lit_adaptconv.sweep import identity
from lit_adaptconv.sweep.identity import code_version, data_fingerprint
from lit_adaptconv.sweep.plan import Arm, ArmBudget, Plan, Search, Tuning
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import prepare
from lit_adaptconv.sweep.settings import arm_settings


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


def test_tuning_trials_of_all_arms_and_values_have_the_same_seeds_and_none_of_the_comparisons() -> None:
    made = maker(plan(seeds=1000))
    tuning = [made.tuning(at, n, {"optimizer.lr": 0.1 + n}, 3) for at in made.plan.arm_budgets for n in range(5)]
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
    one, other = (arm_settings(made, arm, {"optimizer.lr": 0.5}) for arm in made.arms.values())
    assert one["data"] == other["data"]
    assert one["trainer"] == other["trainer"]
    differing = {key for key in one["model"] if one["model"][key] != other["model"][key]}
    assert differing == {"kind", "kind_options", "backbone"}
    assert one["model"]["optimizer"]["init_args"]["lr"] == 0.5
    assert one["trainer"]["val_check_interval"] == 0.25
    assert made.optimizer["init_args"]["lr"] == 0.01  # the plan itself stays as it is


def test_a_tuning_trial_does_not_read_the_test_set() -> None:
    made = maker(plan(tuning=Tuning(2, {"optimizer.lr": Search(0.1, 1.0)})))
    at = ArmBudget("standard", 300)
    assert made.config(made.tuning(at, 0, {"optimizer.lr": 0.1}, 1)[0], "u")["run"]["test"] is False
    assert made.config(made.comparison(at)[0], "u")["run"]["test"] is True


def test_runs_are_grouped_by_sweep_and_typed_by_arm() -> None:
    made = maker(plan(tags=["mine"]))
    run = made.config(next(made.all()), "0123abcd")["run"]
    assert (run["group"], run["job_type"]) == ("small", "standard")
    assert {"mine", "small"} <= set(run["tags"])
    assert run["wandb_id"].startswith("0123abcd-")


PACKAGE = Path(identity.PACKAGE)
NUMBERS = ("data/order.py", "functional.py", "layers/adaptive.py", "measure/count.py", "models/budget.py")
NUMBERS += ("ops/cpu/loops.py", "train/convergence.py", "train/training.py")
OTHERS = ("errors.py", "export/onnx.py", "measure/timing.py", "report/page.py", "sweep/driver.py")
OTHERS += ("verdict/statistics.py",)


def code(of: Plan, arm: str = "standard") -> str:
    return code_version(arm_settings(of, of.arms[arm]))


@pytest.mark.parametrize("file", [*NUMBERS, *OTHERS])
def test_a_change_of_the_code_is_another_code_version_if_a_number_may_depend_on_it(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
    before = code(plan())
    with (tmp_path / file).open("a") as changed:
        changed.write("# a comment\n")
    assert (code(plan()) != before) == (file in NUMBERS)


def test_the_implementation_of_the_operator_is_part_of_the_code_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    fused = code(plan())
    monkeypatch.setenv(VARIABLE, "reference")
    assert code(plan()) != fused


OWN = {
    "data": {"data": {"class_path": "own_part.Own", "init_args": {}}},
    "backbone": {"backbone": {"class_path": "own_part.Own", "init_args": {}}},
    "optimizer": {"optimizer": {"class_path": "own_part.Own", "init_args": {}}},
    "scheduler": {"scheduler": {"class_path": "own_part.Own", "init_args": {}}},
    "callback": {"trainer": {"callbacks": [{"class_path": "own_part.Own", "init_args": {}}]}},
    "derived": {"optimizer": {"class_path": "own_part_2.Derived", "init_args": {}}},
    "model": {"model": {"class_path": "own_part.Own", "init_args": {}}, "arms": {"standard": Arm()}},
    "an arm's backbone": {"arms": {"standard": Arm(backbone="own_part.Own")}},
}


@pytest.mark.parametrize("change", OWN.values(), ids=OWN)
def test_a_change_of_a_class_of_the_users_own_is_another_code_version(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_part.py").write_text("class Own: ...\n")
    (tmp_path / "own_part_2.py").write_text("from own_part import Own\nclass Derived(Own): ...\n")
    for module in ("own_part", "own_part_2"):
        sys.modules.pop(module, None)
        importlib.import_module(module)  # as reading the plan does
    before = code(plan(**change))
    assert before != code(plan())
    (tmp_path / "own_part.py").write_text("class Own: size = 2\n")
    assert code(plan(**change)) != before


def test_a_conv_kind_of_the_users_own_is_part_of_the_code_version_of_its_arm_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_kind.py").write_text("from torch.nn import Conv2d\nclass Own(Conv2d): ...\n")
    sys.modules.pop("own_kind", None)
    import own_kind

    given = functools.partial(SeparableConv2d, depthwise=own_kind.Own)
    monkeypatch.setattr(identity, "conv_kind", {"own": given, "standard": Conv2d}.__getitem__)
    arms = {"standard": Arm(), "own": Arm("own"), "converted": Arm(convert=ConvertOptions("own"))}
    before = {name: code(plan(arms=arms), name) for name in arms}
    with (tmp_path / "own_kind.py").open("a") as changed:
        changed.write("# a comment\n")
    after = {name: code(plan(arms=arms), name) for name in arms}
    assert {name for name in arms if before[name] == after[name]} == {"standard"}


@pytest.mark.parametrize("name", ["mnist_full_rank", "mnist_record", "mnist_record_pilot"])
def test_trials_that_were_finished_before_keep_their_ids(name: str) -> None:
    folder = Path(__file__).parents[2] / "docs" / "results" / name
    versions = json.loads(pq.read_table(folder / "results.parquet")["versions"][0].as_py())
    if any(versions[package] != importlib.metadata.version(package) for package in ("torch", "lightning")):
        pytest.skip("with other versions, classes and the trainer may have other arguments")
    of = read_plan(folder.parents[2] / "configs" / "sweeps" / f"{name}.yaml")
    before = {trial["id"].split("-")[0] for trial in json.loads((folder / "sweep.json").read_text())["trials"]}
    now = {trial.id.split("-")[0] for at in of.arm_budgets for trial in maker(of).comparison(at)}
    assert now == before


def test_random_crops_have_the_ids_that_they_had_when_in_memory_said_them() -> None:
    def of(**arguments: Any) -> list[str]:
        data = {"class_path": "lit_adaptconv.data.ImageFolder", "init_args": {"image_size": 9, **arguments}}
        return ids(plan(data=data))

    for in_memory in (None, True):
        assert of(in_memory=in_memory, random_crops=False, transforms=None) == of(in_memory=in_memory)
    for in_memory in (None, False):
        assert of(in_memory=in_memory, random_crops=True) == of(in_memory=False)
    assert not set(of(in_memory=False, random_crops=False)) & set(of(in_memory=False))
    assert not set(of(transforms=[{"class_path": "torchvision.transforms.v2.MixUp"}])) & set(of())


def test_two_arms_that_are_trained_alike_are_refused_unless_at_other_budgets() -> None:
    arms = {"one": Arm("adaptive"), "two": Arm("adaptive")}
    with pytest.raises(UserError, match="'one' and 'two' are one and the same"):
        maker(plan(arms=arms)).check()
    apart = {"one": Arm("adaptive", budgets=[300]), "two": Arm("adaptive", budgets=[600])}
    maker(plan(arms=apart)).check()


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


def test_an_arm_may_decay_all_its_parameters() -> None:
    arms = {"weights": {"kind": "adaptive"}, "all": {"kind": "adaptive", "model": {"weight_decay_on": "all"}}}
    backbone = {"class_path": "ConvNet", "init_args": {"channels": [3, 4], "pool_after": [0]}}
    data = {"class_path": "Digits", "init_args": {"image_size": 8}}
    made = prepare(read_plan({"name": "decay", "arms": arms, "data": data, "backbone": backbone})).maker
    models = {trial.arm: made.config(trial, "uid")["model"] for trial in made.all()}
    assert {arm: config.get("weight_decay_on") for arm, config in models.items()} == {"weights": None, "all": "all"}
