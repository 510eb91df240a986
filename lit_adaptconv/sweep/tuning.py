"""Hyperparameter search with Optuna: for each arm at each budget, the same number of trials on the validation split."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from lit_adaptconv.errors import UserError, cause_of
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.plan import ArmBudget, Search, Tuning
from lit_adaptconv.sweep.trial import Trial, TrialMaker
from lit_adaptconv.train.result import RunResult

OWNER = "sweep"
"""Attribute of an Optuna trial: the sweep that runs it, where several machines share a storage."""

OF_THE_MACHINE = ("is full", "disk I/O", "is locked", "readonly", "unable to open")
"""What SQLite says of a file that may be whole."""

BLIND = 10
"""So many trials of a search take values that do not depend on results."""


class Tuner:
    """Asks Optuna what to try, and turns what it found into the trials of the comparison.

    The studies' storage is the memory: a trial under way when a sweep was killed is found there, and run to its end.

    Args:
        maker: Makes the trials.
        tuning: What is searched.
        folder: The sweep's folder.
        uid: Name of the sweep that no other has.
        adopt: Exchanges trials of the comparison for ones that are finished, see `SweepFolder.finished_before`.
        any_code: Whether a study that another version of the code began is continued.
        say: Is told a line that people should read.

    Raises:
        UserError: The storage can't be used; so with all methods.
    """

    def __init__(
        self,
        maker: TrialMaker,
        tuning: Tuning,
        folder: SweepFolder,
        uid: str,
        adopt: Callable[[Sequence[Trial]], Sequence[Trial]],
        any_code: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._maker = maker
        self._tuning = tuning
        self._uid = uid
        self._adopt = adopt
        self._sign = maker.plan.metric.sign
        self._space = {name: distribution(search) for name, search in tuning.space.items()}
        own = folder.path / "optuna.db"
        self._storage = tuning.storage or f"sqlite:///{own}"
        try:
            if tuning.storage is None:
                _check(own)
            self._studies = self._open(any_code)
        except Exception as error:  # bytes that are no storage can raise anything
            said = self._cannot(error)
            if tuning.storage is not None or any(word in said for word in OF_THE_MACHINE):
                raise UserError(said) from error
            aside = _free_name(own)
            own.rename(aside)
            say(f"{own} is damaged; it is kept as {aside.name}, and what its trials found is taken from their folders")
            with self._told():
                self._studies = self._open(any_code)
        self._running: dict[str, tuple[ArmBudget, int]] = {}

    def _open(self, any_code: bool) -> dict[ArmBudget, optuna.Study]:
        """The studies, each read once, so that a damaged storage is noticed."""
        studies = {
            at: self._study(at, any_code)
            for at in self._maker.plan.arm_budgets
            if self._maker.sizes[at].impossible is None  # nothing to tune
        }
        for study in studies.values():
            study.get_trials(deepcopy=False)
        return studies

    def _cannot(self, error: Exception) -> str:
        said = cause_of(error)[:300]
        return f"the tuning's storage {self._storage} can't be used: {said}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, StorageInternalError) or type(error).__module__.startswith("sqlalchemy."):
                raise UserError(self._cannot(error)) from error
            raise

    def start(self) -> list[Trial]:
        """The first trials of every search, and the comparison where the search is finished."""
        with self._told():
            return self._start()

    def _start(self) -> list[Trial]:
        trials: list[Trial] = []
        for at in self._maker.plan.arm_budgets:
            if at not in self._studies:
                trials += self._maker.comparison(at)
                continue
            for trial in self._studies[at].get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.user_attrs.get(OWNER) == self._uid:
                    trials.append(self._begin(at, trial.number, trial.params))
            trials += self._next(at)
        return trials

    def follow(self, trial: Trial, result: RunResult) -> list[Trial]:
        """Tell Optuna how a tuning trial ended, and say what is to run next."""
        with self._told():
            return self._follow(trial, result)

    def _follow(self, trial: Trial, result: RunResult) -> list[Trial]:
        if trial.id not in self._running or result.status == "interrupted":
            return []
        at, number = self._running.pop(trial.id)
        study = self._studies[at]
        if result.status == "diverged":
            study.tell(number, -self._sign * math.inf)  # known to be bad, which is worth remembering
        elif result.status == "done" and result.val_value is not None:
            study.tell(number, result.val_value)
        else:
            study.tell(number, state=TrialState.FAIL)
        return self._next(at)

    def _next(self, at: ArmBudget) -> list[Trial]:
        study = self._studies[at]
        started: list[Trial] = []
        active = sum(running == at for running, _ in self._running.values())
        while active + len(started) < self._tuning.parallel and len(study.trials) < self._tuning.trials:
            # One seed a number: a search that was interrupted goes on as it would have, and all arms are offered the
            # same values while those are drawn blindly.
            seed = _seed(f"{self._maker.plan.name} {len(study.trials)}")
            study.sampler = optuna.samplers.TPESampler(n_startup_trials=BLIND, seed=seed)
            asked = study.ask(self._space)
            asked.set_user_attr(OWNER, self._uid)
            started.append(self._begin(at, asked.number, asked.params))
        if started or active:
            return started
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        known = [(self._sign * trial.value, -trial.number, trial) for trial in complete if trial.value is not None]
        _, _, best = max((each for each in known if math.isfinite(each[0])), default=(0.0, 0, None))
        # Where every tuning trial failed or diverged, the plan's own values are what is left.
        return [*self._adopt(self._maker.comparison(at, None if best is None else best.params))]

    def _begin(self, at: ArmBudget, number: int, params: dict[str, object]) -> Trial:
        trial = self._maker.tuning(at, number, params)
        self._running[trial.id] = (at, number)
        return trial

    def _study(self, at: ArmBudget, any_code: bool) -> optuna.Study:
        definition = f"{self._maker.definition(at)} {sorted(self._tuning.space.items())}"
        digest = hashlib.sha256(definition.encode()).hexdigest()[:12]
        name = f"{self._maker.plan.name} {at.arm} {at.budget} {digest}"
        code = self._maker.code[at.arm].rpartition("+")[2]
        if any_code:
            for known in optuna.get_all_study_names(self._storage):
                if known.startswith(name):
                    code = known.rpartition(" ")[2]
        return optuna.create_study(
            study_name=f"{name} {code}",
            storage=self._storage,
            direction="maximize" if self._sign > 0 else "minimize",
            load_if_exists=True,
        )


def _check(storage: Path) -> None:
    """Check that the file of a storage, if there is one, is whole.

    Raises:
        sqlite3.Error: It is not, or can't be read.
    """
    if storage.is_file():
        with contextlib.closing(sqlite3.connect(storage)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)


def _free_name(path: Path) -> Path:
    """A name beside a file for what is damaged of it."""
    names = (path.with_name(f"{path.name}.damaged{count or ''}") for count in itertools.count())
    return next(name for name in names if not name.exists())


def distribution(search: Search) -> BaseDistribution:
    """Optuna's name for what is searched."""
    if search.choices is not None:
        return CategoricalDistribution(search.choices)
    assert search.low is not None
    assert search.high is not None
    if isinstance(search.low, int) and isinstance(search.high, int):
        return IntDistribution(search.low, search.high, log=search.log)
    return FloatDistribution(search.low, search.high, log=search.log)


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
