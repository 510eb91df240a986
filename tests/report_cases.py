"""Folders of sweeps that nobody had to train: results with the shape of real ones, for the tests of reports."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sweep_cases
import yaml

from lit_adaptconv.measure.budget import Budget, Limits
from lit_adaptconv.measure.latency import Latencies, NetworkLatency, RuntimeLatency
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.plan import Arm
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Trial, TrialMaker
from lit_adaptconv.sweep.tuning_table import write_tuning
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.tested import ImageBits
from lit_adaptconv.verdict.metric import ACCURACY, Metric

ONE = {"parameters": 1, "flops": 100, "bytes": 4}
"""What these networks have for each parameter."""


class Remembered(Store):
    """A store of results that are in no folder."""

    results_of: dict[str, RunResult]

    def result(self, trial: Trial) -> RunResult | None:
        return self.results_of.get(trial.id)


def made_up_sweep(
    folder: Path,
    arms: tuple[str, ...] = ("standard", "low_rank", "adaptive"),
    budgets: tuple[int | Budget, ...] = (300, 600, 1200),
    seeds: int = 8,
    evaluations: int = 20,
    name: str = "made-up",
    failures: bool = True,
    targets: tuple[float, ...] = (0.8, 0.9),
    metric: Metric = ACCURACY,
    images: int = 0,
    latency: bool = False,
) -> Store:
    """Write the folder of a sweep whose second arm learns faster than the first and whose others learn more slowly.

    With failures, the last arm's first trial at the first budget has failed, and its second has diverged. A metric of
    which less is better is one minus the accuracy that these networks have, and so are its targets.
    """
    kinds = ["standard", *["adaptive_low_rank"] * (len(arms) - 1)]
    of = sweep_cases.plan(
        name=name,
        arms={arm: Arm(kind, {"rank": k} if k else {}) for k, (arm, kind) in enumerate(zip(arms, kinds, strict=True))},
        budgets=list(budgets),
        seeds=seeds,
        targets=list(targets),
    )
    targets = tuple(round(_value(target, metric), 9) for target in targets)
    sizes = {}
    for at in of.arm_budgets:
        arm, size = at.arm, _size(at.budget)
        sizes[at] = NetworkSize(size - 3 * arms.index(arm) - 1, 100 * size, (3, 4), file_bytes=4 * size)
    trials = list(TrialMaker(of, sizes, dict.fromkeys(of.arms, sweep_cases.CODE)).all())
    sweep = replace(sweep_cases.sweep(of, trials), name=name, metric=metric, targets=targets)
    place = SweepFolder(folder)
    place.write(sweep)
    (folder / "plan.yaml").write_text(yaml.safe_dump({"name": name, "arms": list(arms)}))
    store = Remembered(place, sweep)
    made = {trial.id: _result(trial, arms, evaluations, failures, budgets) for trial in trials}
    for number, one in enumerate(made.values()):
        if images and one.test_value is not None:
            _test_on(one, images, number)
    store.results_of = {id: _judged(result, metric) for id, result in made.items()}
    if latency:
        latencies(trials, trials[-1].arm).write(folder)
    store.write()
    return store


def latencies(networks: Sequence[Any], lacking: str | None = None) -> Latencies:
    """Made-up latencies: a nanosecond a FLOP in onnxruntime, three in PyTorch; the arm `lacking` can't be exported."""

    def times(seconds: float) -> RuntimeLatency:
        image, batch = (Spread(s, 0.9 * s, 1.2 * s) for s in (seconds, 10 * seconds))
        return RuntimeLatency(image, batch, 2**20)

    different = {(network.arm, network.budget): network for network in networks}
    return Latencies(
        device="cpu (a chip)",
        threads=1,
        batch_size=32,
        turns=20,
        load=0.5,
        versions={"torch": "2", "onnxruntime": "1"},
        networks=tuple(
            NetworkLatency(
                arm=one.arm,
                budget=one.budget,
                kind=one.kind,
                parameters=one.parameters,
                onnx=None if one.arm == lacking else times(1e-9 * one.flops),
                torch=times(3e-9 * one.flops),
                onnx_bytes=None if one.arm == lacking else 4 * one.parameters,
                reason="it <b>cannot" if one.arm == lacking else "",
            )
            for one in different.values()
        ),
    )


def _test_on(result: RunResult, images: int, number: int) -> None:
    """Let the test have been one of so many images, some of which are hard for all."""
    random = np.random.default_rng(number)
    hard = np.random.default_rng(0).normal(size=images) + random.normal(size=images)
    right = np.zeros(images, np.bool_)
    right[np.argsort(hard)[: round((result.test_value or 0.0) * images)]] = True
    result.test_value = float(right.mean())
    result.test_metrics = {"test/accuracy": result.test_value}
    result.test_images = ImageBits(images, "0123abcd", base64.b64encode(np.packbits(right).tobytes()).decode())


def _size(budget: Limits | None) -> int:
    """Parameters that a network of a budget might have."""
    limits = Budget.of(budget or 700).limits
    return min(limits[name] // one for name, one in ONE.items() if name in limits)


def _value(accuracy: float, metric: Metric) -> float:
    return accuracy if metric.mode == "max" else 1 - accuracy


def _judged(result: RunResult, metric: Metric) -> RunResult:
    """The same run, judged by another metric."""
    result.monitor, result.mode, result.test_metric = metric.monitor, metric.mode, metric.test_metric
    result.curve = [
        replace(e, value=_value(e.value, metric), train_value=_value(e.train_value or 0.0, metric))
        for e in result.curve
    ]
    if result.curve:
        values = [e.value for e in result.curve]
        result.val_value, result.best_val_value = values[-1], metric.sign * max(metric.sign * v for v in values)
    if result.test_value is not None:
        result.test_value = _value(result.test_value, metric)
        result.test_metrics = {metric.test_metric: result.test_value}
    return result


def _result(
    trial: Trial, arms: tuple[str, ...], evaluations: int, failures: bool, budgets: tuple[int | Budget, ...]
) -> RunResult:
    size = 1000 if trial.budget is None else _size(trial.budget)
    given = 0 if trial.budget is None else size
    arm, random = arms.index(trial.arm), np.random.default_rng([trial.pair, arms.index(trial.arm), given])
    best = 0.97 - 8 / size - (0.004, -0.01, 0.05)[min(arm, 2)] + random.normal(0, 0.006)
    speed = (0.25, 0.4, 0.15)[min(arm, 2)] * np.exp(random.normal(0, 0.15))
    steps = np.arange(1, evaluations + 1)
    accuracy = best * (1 - np.exp(-speed * steps * 20 / evaluations)) + random.normal(0, 0.004, evaluations)
    curve = [round(float(a), 6) for a in np.clip(accuracy, 0.1, 0.9999)]
    if failures and trial.arm == arms[-1] and trial.budget in budgets[:1] and trial.pair < 2:
        if trial.pair == 0:
            return sweep_cases.result(trial, [], "failed", "MemoryError: <b>not enough</b>")
        return sweep_cases.result(trial, curve[:3], "diverged", "the training loss is nan")
    made = sweep_cases.result(trial, curve)
    made.test_value = round(float(best + random.normal(0, 0.004)), 6)
    made.test_metrics = {"test/accuracy": made.test_value}
    return made


def made_up_tuning(
    folder: Path,
    arms: Sequence[str] = ("standard", "low_rank"),
    budgets: Sequence[int | None] = (300, 600),
    sets: int = 4,
) -> dict[tuple[str, int | None], list[list[float]]]:
    """Write what tuning tried into a sweep's folder: for each arm and budget sets of values, each with two seeds."""
    random = np.random.default_rng(0)
    rows, found = [], {}
    for arm in arms:
        for budget in budgets:
            found[arm, budget] = random.uniform(0.5, 0.9, (sets, 2)).tolist()
            rows += [
                {"arm": arm, "budget": budget, "number": n, "values": f'{{"optimizer.lr": {n + 1}}}', "status": "done"}
                | {"trial": f"{arm}-{budget}-{n}-{seed}", "seed": seed, "val_metric": value}
                for n, values in enumerate(found[arm, budget])
                for seed, value in enumerate(values)
            ]
    write_tuning(folder, rows)
    return found
