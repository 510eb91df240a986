"""`adaptconv sweep`: arms × budgets × seeds, trained under equal conditions and compared."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from rich.console import Console

from lit_adaptconv.files import write_text
from lit_adaptconv.result import RunResult
from lit_adaptconv.sweep.driver import Driver
from lit_adaptconv.sweep.engines import Engine
from lit_adaptconv.sweep.engines.local import LocalEngine
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.identity import code_version, data_fingerprint
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.sizing import network_size
from lit_adaptconv.sweep.store import Store, read_results
from lit_adaptconv.sweep.trial import Trial, TrialMaker, fit_config, pairs

from .plan import SweepOptions, build_data, builders, output_folder, parse_plan, plan_text
from .trial import resolve, run_trial
from .verdict import print_verdict

SOME_FAILED = 3
INTERRUPTED = 130


def sweep(args: list[str]) -> int:
    """Run a sweep, or continue it.

    Returns:
        Exit status: 0 if every trial ended well, 3 if some did not, 130 if interrupted.
    """
    plan, options = parse_plan(args)
    maker = prepare(plan)
    folder = SweepFolder(output_folder(plan, options))
    with folder.locked(), Interruption() as interruption:
        return _run(maker, folder, options, interruption)


def prepare(plan: Plan) -> TrialMaker:
    """Check a plan as `adaptconv fit` would, and size its networks."""
    data = build_data(plan)
    build = builders(plan, data)
    shape = (data.in_channels, *data.image_size)
    sizes = {(arm, budget): network_size(build[arm], shape, budget) for arm, budget in pairs(plan)}
    classes = [plan.data["class_path"], plan.backbone["class_path"]]
    maker = TrialMaker(plan, sizes, code_version(classes), data_fingerprint(data))
    first = maker.comparison(pairs(plan)[0])[0]
    complete = resolve(fit_config(plan, first, "runs", plan.name))
    return replace(maker, plan=replace(plan, trainer=complete["trainer"]))


def _run(maker: TrialMaker, folder: SweepFolder, options: SweepOptions, interruption: Interruption) -> int:
    plan = maker.plan
    console = Console()
    trials = tuple(maker.all())
    sweep = Sweep(
        name=plan.name,
        data=plan.data["class_path"].rpartition(".")[2],
        backbone=plan.backbone["class_path"].rpartition(".")[2],
        targets=tuple(plan.targets),
        primary_arm=plan.reference,
        trials=trials,
        expected=len(trials),
    )
    write_text(folder.path / "plan.yaml", plan_text(plan))
    folder.write(sweep)
    build_data(plan).prepare_data()
    store = Store(folder, sweep)

    def config(trial: Trial) -> dict[str, Any]:
        return fit_config(plan, trial, str(folder.path.parent), f"{folder.path.name}/{folder.group(trial)}")

    engine = _engine(plan, options)
    listener = Lines(console, len(trials))
    try:
        Driver(store, engine, config, plan.retries, listener, interruption).run(trials, lambda trial, result: [])
    finally:
        engine.close()
    results = read_results(folder.path)
    print_verdict(console, results, sweep)
    console.print(f"Sweep: {os.path.relpath(folder.path)}", soft_wrap=True)
    if interruption.asked:
        return INTERRUPTED
    return 0 if results["status"].to_pylist().count("done") == sweep.expected else SOME_FAILED


def _engine(plan: Plan, options: SweepOptions) -> Engine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = options.workers or max(1, cores // (plan.cpus or 1))
    return LocalEngine(run_trial, workers, plan.cpus or max(1, cores // workers))


class Lines:
    """A line for every trial that ends."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._ended = 0

    def started(self, trial: Trial) -> None:
        """Say nothing."""

    def ended(self, trial: Trial, result: RunResult, seconds: float | None) -> None:
        """Print how the trial ended."""
        self._ended += 1
        self._console.print(f"{self._ended}/{self._total} {trial.title}: {result.status} {result.reason or ''}")

    def retried(self, trial: Trial, reason: str) -> None:
        """Print why the trial starts again."""
        self._console.print(f"{trial.title} starts again: {reason}")

    def warn(self, message: str) -> None:
        """Print it."""
        self._console.print(message)

    def tick(self) -> None:
        """Do nothing."""
