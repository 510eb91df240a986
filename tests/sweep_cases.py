"""Small plans, trials and results that the tests of sweeps share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from lit_adaptconv.measure.budget import to_columns
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.plan import Arm, Plan
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import Prepared, prepare
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Trial, TrialMaker
from lit_adaptconv.train.convergence import Evaluation, first_reached
from lit_adaptconv.train.result import RunResult

CODE = "0.1.0+c0dec0de"


def plan(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "name": "small",
        "arms": {"standard": Arm(), "low_rank": Arm("adaptive_low_rank", {"rank": 1}, {"activation": "identity"})},
        "budgets": [300, 600],
        "seeds": 3,
        "targets": [0.5, 0.9],
        "trainer": {"max_epochs": 2},
        "data": {"class_path": "lit_adaptconv.data.Digits", "init_args": {"batch_size": 64}},
        "backbone": {"class_path": "lit_adaptconv.models.ConvNet", "init_args": {"kernel_size": 3}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "scheduler": None,
    }
    return Plan(**{**settings, **changes})


def maker(of: Plan, code: str = CODE, data: str | None = None) -> TrialMaker:
    sizes = {at: NetworkSize(290, 1000, (3, 4), settings={"model.width": [3, 4]}) for at in of.arm_budgets}
    return TrialMaker(of, sizes, dict.fromkeys(of.arms, code), data)


def sweep(of: Plan, trials: list[Trial]) -> Sweep:
    return Sweep("small", "0123abcd", "Digits", "ConvNet", tuple(of.targets), of.reference, tuple(trials), len(trials))


def result(trial: Trial, values: list[float], status: Any = "done", reason: str | None = None) -> RunResult:
    """What a trial with these validation accuracies leaves, ten steps and 1.5 seconds apart."""
    curve = [
        Evaluation(10 * i, i / 2, 3000 * i, 1.5 * i, value, value + 0.01, 1 - value)
        for i, value in enumerate(values, start=1)
    ]
    tested = {"test/accuracy": values[-1]} if values and status == "done" else {}
    return RunResult(
        name="trials",
        id=trial.id,
        status=status,
        reason=reason,
        data="Digits",
        model="ImageClassifier",
        backbone="ConvNet",
        kind=trial.kind,
        kind_options=trial.kind_options,
        widths=list(trial.widths),
        **to_columns(trial.budget),
        file_bytes=trial.file_bytes,
        parameters=trial.parameters,
        flops=trial.flops,
        seed=trial.seed,
        epochs=len(curve) // 2,
        steps=10 * len(curve),
        training_seconds=1.5 * len(curve),
        val_value=values[-1] if values else None,
        best_val_value=max(values, default=None),
        test_value=tested.get("test/accuracy"),
        test_metrics=tested,
        convergence=[first_reached(curve, 0.5)],
        curve=curve,
        device="cpu",
        threads=1,
        versions={"lit-adaptconv": "0.1.0"},
    )


def untrained(folder: Path, of: Plan | Prepared | None = None) -> Store:
    """The folder of a sweep whose trials are done, as far as their files tell, and kept no checkpoint."""
    made_of = (of if isinstance(of, Prepared) else prepare(read_plan(of or plan()))).maker
    trials = list(made_of.all())
    made, place = sweep(made_of.plan, trials), SweepFolder(folder)
    place.write(made)
    for trial in trials:
        where = place.trial(trial)
        where.mkdir(parents=True)
        (where / "config.yaml").write_text(yaml.safe_dump(made_of.config(trial, "uid")))
        result(trial, [0.5, 0.8]).write(where / "result.json")
    return Store(place, made)


def copied(store: Store, folder: Path) -> Store:
    """A copy of a sweep's folder, which was made once for several tests."""
    shutil.copytree(store.folder.path, folder, dirs_exist_ok=True)
    return Store(SweepFolder(folder), store.sweep)
