"""Run a sweep, from its plan to its tables."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import pyarrow as pa
import wandb

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.devices import gpus_of_trial, visible_gpus
from lit_adaptconv.sweep.driver import Driver, Follow
from lit_adaptconv.sweep.engines import Engine
from lit_adaptconv.sweep.engines.local import LocalEngine, Slots, local_slots
from lit_adaptconv.sweep.engines.slurm import SlurmEngine, SlurmOptions
from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.identity import code_version, data_fingerprint
from lit_adaptconv.sweep.interrupt import Interruption
from lit_adaptconv.sweep.latency_limit import LimitedSizes, read_limited, within_limit
from lit_adaptconv.sweep.plan import ArmBudget, Plan, class_name
from lit_adaptconv.sweep.progress import Listener, Monitor
from lit_adaptconv.sweep.reading import build_data, plan_text
from lit_adaptconv.sweep.running import OFFLINE, run_trial
from lit_adaptconv.sweep.settings import arm_settings
from lit_adaptconv.sweep.sizing import Network, networks, sizes
from lit_adaptconv.sweep.stacks import Stacker
from lit_adaptconv.sweep.step_costs import STEP_COSTS, read_step_costs
from lit_adaptconv.sweep.store import Store
from lit_adaptconv.sweep.trial import Trial, TrialMaker
from lit_adaptconv.sweep.tuning import Tuner
from lit_adaptconv.sweep.tuning_table import TUNING, write_tuning
from lit_adaptconv.train.beginning import check_trainer
from lit_adaptconv.train.runs import is_plain
from lit_adaptconv.train.tracking import unreachable
from lit_adaptconv.verdict.question import Question

EngineName = Literal["local", "ray", "slurm"]
CHANGED = "Changed after results were there: "
"""How a sweep's note begins that says so of its plan."""
Asked = int | Literal["auto"]
"""The largest number of trials that are trained together; "auto" is as many as a GPU takes, and one on a CPU."""


@dataclass(frozen=True)
class Prepared:
    """A plan that has been checked, with what it is about to train.

    Attributes:
        maker: Makes the trials.
        data: The data module; it has read nothing yet.
        networks: What each arm trains.
        limited: The networks that the plan's limit on latency chose; None where it has none.
    """

    maker: TrialMaker
    data: pl.LightningDataModule
    networks: Mapping[str, Network]
    limited: LimitedSizes | None = None


@dataclass(frozen=True)
class SweepOutcome:
    """A sweep that has run, or was interrupted.

    Attributes:
        folder: Its folder.
        sweep: What it consists of.
        results: The table of `results.parquet`.
        curves: The table of `curves.parquet`.
        interrupted: Whether the user stopped it.
    """

    folder: Path
    sweep: Sweep
    results: pa.Table
    curves: pa.Table
    interrupted: bool

    @property
    def complete(self) -> bool:
        """Whether every trial of the comparison is done."""
        return bool(self.results["status"].to_pylist().count("done") == self.sweep.expected)


def prepare(plan: Plan, folder: Path | None = None) -> Prepared:
    """Check a plan, size its networks, and name its trials.

    Args:
        plan: The plan.
        folder: The sweep's folder: with a limit on latency, the widths that it holds are kept.

    Raises:
        UserError: A setting of the trainer is out of its range, an arm can't be built, two arms are the same, the data
            are not there, or no network meets the limit on latency.
    """
    check_trainer(plan.trainer)
    data = build_data(plan)
    arms = networks(plan, data)
    no_gpu = plan.gpus == 0
    found, limited = sizes(plan, arms), None
    if plan.latency is not None:
        limited = within_limit(plan.latency, arms, found, None if folder is None else read_limited(folder))
        found = {ArmBudget(one.arm, one.budget): one.size for one in limited.sizes}
    maker = TrialMaker(
        plan,
        sizes=found,
        code={name: code_version(arm_settings(plan, arm), no_gpu) for name, arm in plan.arms.items()},
        data=data_fingerprint(data),
        resize=lambda at, tuned: Network(plan, plan.arms[at.arm], data, tuned).size(at.budget),
    )
    maker.check()
    return Prepared(maker, data, arms, limited)


def default_folder(plan: Plan) -> Path:
    """The folder of a sweep that is given none, in `runs`.

    Raises:
        UserError: The plan's name is not one of a folder.
    """
    if not is_plain(plan.name):
        raise UserError(f"the sweep's name, {plan.name!r}, is not one of a folder: give --output, or another name")
    return Path("runs") / plan.name


def slots_here(plan: Plan, workers: int | None = None, workers_per_gpu: int | None = None) -> Slots:
    """Divide this machine among the trials of a plan.

    Raises:
        UserError: The settings contradict each other or what is there.
    """
    visible = visible_gpus()
    return local_slots(workers, plan.cpus, gpus_of_trial(plan, workers_per_gpu, len(visible)), visible)


def job_of(plan: Plan, asked: SlurmOptions, workers_per_gpu: int | None = None) -> SlurmOptions:
    """What a trial's job asks SLURM for: GPUs only where the plan says so, since those here tell nothing.

    Raises:
        UserError: The settings contradict each other.
    """
    there = 1 if plan.trainer.get("accelerator") in ("gpu", "cuda") else 0
    gpus = gpus_of_trial(plan, workers_per_gpu, there) or 0
    return replace(asked, cpus=plan.cpus or asked.cpus, gpus=math.ceil(gpus))


def run_sweep(
    plan: Plan,
    output: Path | None = None,
    *,
    engine: EngineName = "local",
    workers: int | None = None,
    workers_per_gpu: int | None = None,
    ray_address: str | None = None,
    slurm: SlurmOptions | None = None,
    stack: Asked = "auto",
    accept_old: bool = False,
    listener: Listener | None = None,
) -> SweepOutcome:
    """Run a sweep, or continue it.

    In the main thread the first Ctrl-C stops it cleanly: trials under way write what they have.

    Args:
        plan: The plan.
        output: Folder of the sweep; by default `runs/<name>`.
        engine: "local" runs trials on this machine, "ray" and "slurm" on a cluster.
        workers: Number of trials at the same time; by default one for each GPU, or else for each core or cluster slot.
        workers_per_gpu: Number of trials that share a GPU; by default each has its own.
        ray_address: Address of a running cluster; by default one is started here.
        slurm: What a job of SLURM asks for; the plan's `cpus` and GPUs come before.
        stack: How many trials that differ in their seeds are trained together as one stacked network, at the most;
            "auto" takes as many as a GPU takes, and one on a CPU. On a cluster each is trained alone.
        accept_old: Whether trials that other code of the package finished are taken as they are.
        listener: Is told how it comes along; by default nobody is.

    Raises:
        UserError: An arm can't be built, the data are not there, or another sweep runs in the folder.
        KeyboardInterrupt: Ctrl-C was pressed twice; running it again continues it.
    """
    folder = SweepFolder(output or default_folder(plan))
    prepared = prepare(plan, folder.path)

    slots = slots_here(plan, workers, workers_per_gpu) if engine == "local" else None

    def make_engine() -> Engine:
        if slots is not None:
            return LocalEngine(run_trial, slots)
        if engine == "slurm":
            asked = job_of(plan, slurm or SlurmOptions(), workers_per_gpu)
            return SlurmEngine(run_trial, folder.path, asked, workers)
        from lit_adaptconv.sweep.engines.ray import RayEngine

        share = partial(gpus_of_trial, plan, workers_per_gpu)
        return RayEngine(run_trial, folder.path, ray_address, workers, plan.cpus, share)

    with folder.locked(), Interruption() as interruption:
        run = _Run(prepared, folder, accept_old, listener or Listener(), interruption)
        return run.run(make_engine, slots, stack)


class _Run:
    """One run of a sweep in its folder."""

    def __init__(
        self,
        prepared: Prepared,
        folder: SweepFolder,
        accept_old: bool,
        listener: Listener,
        interruption: Interruption,
    ) -> None:
        self._prepared = prepared
        self._maker = prepared.maker
        self._plan = prepared.maker.plan
        self._data = prepared.data
        self._folder = folder
        self._accept_old = accept_old
        self._listener = listener
        self._interruption = interruption
        self._tuner: Tuner | None = None
        self._changes: tuple[str, ...] = ()
        interruption.announce = listener.say

    def run(self, make_engine: Callable[[], Engine], slots: Slots | None, stack: Asked) -> SweepOutcome:
        """Run it, on this machine if it has been divided into slots."""
        if self._plan.tuning is not None:
            self._tuner = Tuner(self._maker, self._plan.tuning, self._adopt)
        numbers = {} if slots is None else self._stack_sizes(slots, stack)
        self._data.prepare_data()
        self._look_for_wandb()
        engine = make_engine()
        self._interruption.listen()  # Ray handles SIGTERM itself
        try:
            store = Store(self._folder, self._begin())
            epochs = self._plan.trainer.get("max_epochs")
            monitor = Monitor(store, self._planned(), epochs, engine.slots, self._listener)
            uid = store.sweep.uid
            driver = Driver(
                store,
                engine,
                lambda trial: self._maker.config(trial, uid),
                self._plan.retries,
                self._stacker(store, engine.slots, numbers),
                monitor,
                self._interruption,
            )
            driver.run(*self._work(store))
        finally:
            engine.close()
        if slots is not None and not self._interruption.asked:
            self._time_steps(store)
        return SweepOutcome(self._folder.path, store.sweep, store.results(), store.curves(), self._interruption.asked)

    def _stack_sizes(self, slots: Slots, asked: Asked) -> dict[ArmBudget, int]:
        """How many trials of each arm at each budget may be trained together."""
        from lit_adaptconv.sweep.stack_sizes import stack_sizes, told

        sizes = stack_sizes(self._prepared, asked, slots.sharing)
        for line in told(sizes):
            self._listener.say(line)
        return {at: size.number for at, size in sizes.items()}

    def _stacker(self, store: Store, workers: int, numbers: Mapping[ArmBudget, int]) -> Stacker:
        """What decides which trials are trained together: so many as leave work for all workers."""
        most = -(-self._plan.seeds * len(self._plan.arm_budgets) // workers)

        def size(trial: Trial) -> int:
            number = numbers.get(ArmBudget(trial.arm, trial.budget), 1)
            return number if trial.tuning is not None else min(number, most)

        uid = store.sweep.uid
        config = partial(self._maker.config, uid=uid)
        return Stacker(self._folder.path, self._folder.group, config, size)

    def _time_steps(self, store: Store) -> None:
        """Time a step of each network by turns; a sweep whose steps can't be timed is none the worse."""
        from lit_adaptconv.sweep.step_timing import time_steps

        try:
            if time_steps(self._prepared, store, lambda: self._interruption.asked):
                store.write()
        except Exception as error:  # of a network, or of a full disk: the trials are done
            self._listener.say(f"the networks' steps could not be timed by turns: {error}")

    def _look_for_wandb(self) -> None:
        """Let the trials be logged offline at once where the server of Weights & Biases does not answer."""
        offline = self._folder.path / OFFLINE
        offline.unlink(missing_ok=True)
        if not self._plan.wandb:
            return
        reason = unreachable()
        if wandb.run is None:
            wandb.teardown()  # its service would be that of the workers, too, who could not end what has failed
        if reason is not None:
            offline.touch()
            self._listener.say(f"{reason or 'Weights & Biases can’t be reached'}: the trials are logged offline.")

    def _planned(self) -> dict[ArmBudget, int]:
        """Number of trials of each arm at each budget."""
        tuning = () if self._tuner is None else self._tuner.trials
        tuned = Counter(ArmBudget(trial.arm, trial.budget) for trial in tuning)
        return {at: self._plan.seeds + tuned[at] for at in self._maker.sizes}

    def _begin(self) -> Sweep:
        """Write the plan and the list of trials; a sweep that continues keeps its unique name."""
        plan = self._plan
        try:
            before = self._folder.read()
        except UserError:
            before = None
        tuner = self._tuner
        if tuner is None:
            trials: Sequence[Trial] = self._adopt([*self._maker.all()])
        else:
            trials = tuner.recall(self._folder)
        if tuner is None or not tuner.rows:
            (self._folder.path / TUNING).unlink(missing_ok=True)  # that of another plan
        else:
            self._write_tuning(tuner)
        cells = len(plan.arm_budgets)
        sweep = Sweep(
            name=plan.name,
            uid=before.uid if before else uuid.uuid4().hex[:8],
            data=class_name(plan.data),
            backbone=", ".join(plan.backbones),
            targets=tuple(plan.targets),
            primary_arm=plan.reference,
            trials=tuple(trials),
            expected=plan.seeds * cells,
            tuning=0 if tuner is None else len(tuner.trials),
            model="ImageClassifier" if plan.model is None else class_name(plan.model),
            metric=plan.metric,
            question=plan.question,
            notes=() if tuner is None else tuner.notes,
        )
        if before is not None:
            noted = [note for note in before.notes if note.startswith(CHANGED)]
            self._changes = (*noted, *self._changed(before, sweep))
            sweep = replace(sweep, notes=(*self._changes, *sweep.notes))
            self._forget_costs(before, sweep)
        if tuner is None:
            self._say_others(trials)
        if self._prepared.limited is not None:
            self._prepared.limited.write(self._folder.path)
        write_text(self._folder.path / "plan.yaml", plan_text(plan))
        self._folder.write(sweep)
        return sweep

    def _say_others(self, trials: Sequence[Trial]) -> None:
        """Say how many trials the folder holds that are not of this plan."""
        others = len(self._folder.ids() - {trial.id for trial in trials})
        if others:
            self._listener.say(f"{others} trials in this folder are not of this plan: they stay, and are in no table.")

    def _changed(self, before: Sweep, now: Sweep) -> list[str]:
        """What a plan asks otherwise than before there were results, a line each."""
        seeds = [len({trial.pair for trial in sweep.trials}) for sweep in (before, now)]
        found = {
            "targets": [_list(sorted(sweep.targets)) for sweep in (before, now)],
            "question": [_told(sweep.question) for sweep in (before, now)],
            "primary arm": [sweep.primary_arm for sweep in (before, now)],
            "number of seeds": [str(max(seeds[0], number)) for number in seeds],  # fewer show less, not more
        }
        lines = [f"{CHANGED}the {name}, from {old} to {new}." for name, (old, new) in found.items() if old != new]
        if lines and not self._folder.done(before.trials):
            return []
        for line in lines:
            self._listener.say(f"{line} What is chosen then is no fair test.")
        return lines

    def _forget_costs(self, before: Sweep, now: Sweep) -> None:
        """Remove the costs of steps if they are not those of all networks that the trials have now."""
        costs = read_step_costs(self._folder.path)
        kept = {trial.id for trial in before.trials} & {trial.id for trial in now.trials}
        same = {ArmBudget(trial.arm, trial.budget) for trial in now.trials if trial.id in kept}
        if costs is not None and not {ArmBudget(cost.arm, cost.budget) for cost in costs.costs} <= same:
            (self._folder.path / STEP_COSTS).unlink()

    def _write_tuning(self, tuner: Tuner) -> None:
        try:
            write_tuning(self._folder.path, tuner.rows)
        except OSError as error:  # the comparison does not need it
            self._listener.say(f"{TUNING} could not be written: {error}; continuing the sweep writes it.")

    def _adopt(self, trials: Sequence[Trial]) -> list[Trial]:
        """Exchange trials that other code finished, if that is wished; else say that they will be run again."""
        if self._accept_old:
            return self._folder.adopted(trials)
        if finished := self._folder.finished_before(trials):
            codes = sorted({trial.code for trial in finished.values()})
            ours = sorted({trial.code for trial in trials if trial.id in finished})
            self._listener.say(
                f"{len(finished)} of these trials were finished by other code ({_list(codes)}; this is {_list(ours)}): "
                "they are run again; --accept-old takes them as they are."
            )
        return [*trials]

    def _work(self, store: Store) -> tuple[Sequence[Trial], Follow]:
        """The trials to begin with, and what follows from each."""
        tuner = self._tuner
        if tuner is None:
            return store.sweep.trials, lambda trial, result: ()

        def known(trials: Sequence[Trial]) -> Sequence[Trial]:
            compared = [trial for trial in trials if trial.tuning is None]
            if compared:
                store.extend(compared, (*self._changes, *tuner.notes))
                self._write_tuning(tuner)
                self._say_others(compared)
                for line in tuner.notes:
                    self._listener.say(line)
            return trials

        return known(tuner.start()), lambda trial, result: known(tuner.follow(trial, result))


def _told(question: Question) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(question).items() if value is not None)


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
