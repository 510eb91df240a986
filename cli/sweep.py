"""`adaptconv sweep`: arms × budgets × seeds, trained under equal conditions and compared."""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.driver import Driver
from lit_adaptconv.sweep.engines import Engine
from lit_adaptconv.sweep.engines.local import LocalEngine, local_slots
from lit_adaptconv.sweep.estimate import estimate
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.identity import code_version, data_fingerprint
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.progress import Monitor
from lit_adaptconv.sweep.reading import SweepOptions, build_data, networks, output_folder, parse_plan, plan_text
from lit_adaptconv.sweep.running import resolve, run_trial
from lit_adaptconv.sweep.sizing import Networks, NetworkSize
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Pair, Trial, TrialMaker, fit_config, pairs
from lit_adaptconv.train.result import RunResult

from .display import live
from .dry_run import print_dry_run
from .extras import missing_extra
from .main import INTERRUPTED
from .verdict import print_verdict

SOME_FAILED = 3


@dataclass(frozen=True)
class Prepared:
    """A plan that has been checked, with what it is about to train.

    Attributes:
        maker: Makes the trials.
        data: The data module.
        networks: What makes the networks of each arm.
    """

    maker: TrialMaker
    data: ImageData
    networks: Mapping[str, Networks]

    @property
    def plan(self) -> Plan:
        """The plan, complete."""
        return self.maker.plan

    @property
    def sizes(self) -> Mapping[Pair, NetworkSize]:
        """Size of every network."""
        return self.maker.sizes


def sweep(args: list[str]) -> int:
    """Run a sweep, or continue it.

    Returns:
        Exit status: 0 if every trial ended well, 3 if some did not, 130 if interrupted.
    """
    plan, options = parse_plan(args)
    prepared = prepare(plan)
    if options.export_wandb is not None:
        return _export(prepared, Path(options.export_wandb))
    folder = SweepFolder(output_folder(plan, options))
    if options.dry_run:
        return _dry_run(prepared, folder, options)
    with folder.locked(), Interruption() as interruption:
        return _Run(prepared, folder, options, interruption).run()


def prepare(plan: Plan) -> Prepared:
    """Check a plan as `adaptconv fit` would, and size its networks.

    Raises:
        UserError: An arm can't be built, or the data are not there.
        SystemExit: A setting of the trainer is not valid; the error has been printed in one line.
    """
    data = build_data(plan)
    arms = networks(plan, data)
    sizes = {(arm, budget): arms[arm].size(budget) for arm, budget in pairs(plan)}
    maker = TrialMaker(plan, sizes, code_version([plan.data["class_path"], *plan.backbones]), data_fingerprint(data))
    first = maker.comparison(pairs(plan)[0])[0]
    complete = resolve(fit_config(plan, first, "runs", plan.name, "sweep"))
    maker = replace(maker, plan=replace(plan, trainer=complete["trainer"]))
    if plan.tuning is not None:
        example = {name: search.example for name, search in plan.tuning.space.items()}
        resolve(fit_config(maker.plan, maker.tuning(pairs(plan)[0], 0, example), "runs", plan.name, "sweep"))
    return Prepared(maker, data, arms)


def _dry_run(prepared: Prepared, folder: SweepFolder, options: SweepOptions) -> int:
    plan, trials = prepared.plan, list(prepared.maker.all())
    try:
        slots = local_slots(options.workers, plan.cpus, plan.gpus)
    except UserError as error:  # planned here, to run elsewhere
        Console().print(f"On this machine it can't run: {error}", highlight=False)
        slots = local_slots(options.workers, plan.cpus, None)
    expected = estimate(plan, prepared.sizes, prepared.networks, prepared.data, folder.path, slots.threads)
    done = folder.done(trials)
    print_dry_run(Console(), plan, prepared.sizes, trials, done, expected, slots.number)
    return 0


def _export(prepared: Prepared, file: Path) -> int:
    from lit_adaptconv.sweep.wandb_export import export_wandb

    files = export_wandb(prepared.plan, file)
    console = Console()
    console.print(f"Wrote {_list(files)}. Next: wandb sweep {file}", soft_wrap=True, highlight=False)
    if prepared.plan.tuning is not None:
        console.print("The plan's tuning is left out: in Weights & Biases it is a sweep of its own.")
    return 0


class _Run:
    """One run of a sweep, from its folder to its verdict."""

    def __init__(
        self, prepared: Prepared, folder: SweepFolder, options: SweepOptions, interruption: Interruption
    ) -> None:
        self._prepared = prepared
        self._plan = prepared.plan
        self._folder = folder
        self._options = options
        self._interruption = interruption
        self._console = Console()

    def run(self) -> int:
        sweep = self._begin()
        store = Store(self._folder, sweep)
        self._prepared.data.prepare_data()
        engine = self._engine()
        self._interruption.listen()  # Ray handles SIGTERM itself
        each = self._plan.seeds + (self._plan.tuning.trials if self._plan.tuning else 0)
        planned = dict.fromkeys(pairs(self._plan), each)
        planned |= {pair: self._plan.seeds for pair, size in self._prepared.sizes.items() if size.impossible}
        epochs = self._plan.trainer.get("max_epochs")
        try:
            with live(self._console) as (show, say):
                self._interruption.announce = say
                monitor = Monitor(store, planned, epochs, engine.slots, show, say)
                driver = Driver(store, engine, self._config(sweep), self._plan.retries, monitor, self._interruption)
                trials, follow = self._work(store, sweep.uid, say)
                driver.run(trials, follow)
        finally:
            engine.close()
        results = store.results()
        print_verdict(self._console, results, store.sweep)
        if not self._interruption.asked:
            self._log_summary(store, results)
        folder = os.path.relpath(self._folder.path)
        self._say(f"Sweep: {folder}. Its figures and a page: adaptconv report {shlex.quote(folder)}")
        if self._interruption.asked:
            return INTERRUPTED
        return 0 if results["status"].to_pylist().count("done") == sweep.expected else SOME_FAILED

    def _log_summary(self, store: Store, results: pa.Table) -> None:
        """Log to Weights & Biases, which must not cost the sweep anything."""
        if not self._plan.wandb:
            return
        from lit_adaptconv.report.content import content_of
        from lit_adaptconv.report.figures import main_figures
        from lit_adaptconv.sweep.wandb_summary import log_summary

        path, tags = self._folder.path, [*self._plan.tags, self._plan.name]
        try:
            content = content_of(path, store.sweep, False, results, store.curves())
            if content.verdict is None:
                return
            figures = {made.name: made.drawing.plotly() for made in main_figures(content)}
            hint = log_summary(path, self._plan.project, tags, store.sweep, results, content.verdict, figures)
        except Exception as error:  # whatever goes wrong there, the sweep itself is finished and written
            self._say(f"The summary was not logged to Weights & Biases: {missing_extra(error) or error}")
        else:
            if hint:
                runs = os.path.relpath(self._folder.path / "trials")
                self._say(f"Weights & Biases: logged offline; send it with: {hint} {runs}/*/wandb/offline-run-*")

    def _begin(self) -> Sweep:
        """Write the plan and the list of trials; a sweep that continues keeps its unique name."""
        plan = self._plan
        try:
            before = self._folder.read()
        except UserError:
            before = None
        tuned = plan.tuning is not None
        trials = () if tuned else tuple(self._prepared.maker.all())
        sweep = Sweep(
            name=plan.name,
            uid=before.uid if before else uuid.uuid4().hex[:8],
            data=plan.data["class_path"].rpartition(".")[2],
            backbone=", ".join(path.rpartition(".")[2] for path in plan.backbones),
            targets=tuple(plan.targets),
            primary_arm=plan.reference,
            trials=(),
            expected=plan.seeds * len(pairs(plan)),
            tuning=plan.tuning.trials * len(pairs(plan)) if plan.tuning else 0,
        )
        sweep = replace(sweep, trials=tuple(self._adopt(trials)))
        if before is not None:
            self._compare(before, sweep)
        write_text(self._folder.path / "plan.yaml", plan_text(plan))
        self._folder.write(sweep)
        return sweep

    def _compare(self, before: Sweep, now: Sweep) -> None:
        """Say what a changed plan means for the trials that the folder holds."""
        others = len(self._folder.ids() - {trial.id for trial in now.trials})
        if others and self._plan.tuning is None:
            self._say(f"{others} trials in this folder are not of this plan: they stay, and are in no table.")
        if set(before.targets) != set(now.targets):
            self._say(
                f"The targets have changed from {_list(before.targets)} to {_list(now.targets)}: "
                "targets that are chosen after results were seen are no fair test."
            )

    def _adopt(self, trials: Sequence[Trial]) -> list[Trial]:
        """Exchange trials that other code finished, if that is wished; else say that they will be run again."""
        finished = self._folder.finished_before(trials)
        if finished and not self._options.accept_old:
            codes = sorted({trial.code for trial in finished.values()})
            self._say(
                f"{len(finished)} of these trials were finished by other code ({_list(codes)}; this is "
                f"{self._prepared.maker.code}): they are run again; --accept-old takes them as they are."
            )
        return [finished.get(trial.id, trial) if self._options.accept_old else trial for trial in trials]

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def _config(self, sweep: Sweep) -> Callable[[Trial], dict[str, Any]]:
        root = str(self._folder.path)
        return lambda trial: fit_config(self._plan, trial, root, self._folder.group(trial), sweep.uid)

    def _work(
        self, store: Store, uid: str, say: Callable[[str], None]
    ) -> tuple[Sequence[Trial], Callable[[Trial, RunResult], Sequence[Trial]]]:
        """The trials to begin with, and what follows from each."""
        if self._plan.tuning is None:
            return store.sweep.trials, lambda trial, result: ()
        from lit_adaptconv.sweep.tuning import Tuner

        tuner = Tuner(self._prepared.maker, self._plan.tuning, self._folder, uid, self._adopt, self._options.accept_old)

        def known(trials: Sequence[Trial]) -> Sequence[Trial]:
            store.extend([trial for trial in trials if trial.tuning is None])
            return trials

        return known(tuner.start()), lambda trial, result: known(tuner.follow(trial, result))

    def _engine(self) -> Engine:
        plan, options = self._plan, self._options
        if options.engine == "local":
            return LocalEngine(run_trial, local_slots(options.workers, plan.cpus, plan.gpus))
        from lit_adaptconv.sweep.engines.ray import RayEngine

        return RayEngine(run_trial, self._folder.path, options.ray_address, options.workers, plan.cpus, plan.gpus)


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
