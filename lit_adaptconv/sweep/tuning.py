"""Hyperparameter search with Optuna: for each arm at each budget, the same number of trials on the validation split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.plan import Search, Tuning
from lit_adaptconv.sweep.trial import Pair, Trial, TrialMaker, pairs
from lit_adaptconv.train.result import RunResult

OWNER = "sweep"
"""Attribute of an Optuna trial: the sweep that runs it, where several machines share a storage."""

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
    """

    def __init__(
        self,
        maker: TrialMaker,
        tuning: Tuning,
        folder: SweepFolder,
        uid: str,
        adopt: Callable[[Sequence[Trial]], Sequence[Trial]],
        any_code: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._maker = maker
        self._tuning = tuning
        self._uid = uid
        self._adopt = adopt
        self._space = {name: distribution(search) for name, search in tuning.space.items()}
        self._storage = tuning.storage or f"sqlite:///{folder.path / 'optuna.db'}"
        self._studies = {
            pair: self._study(pair, any_code)
            for pair in pairs(maker.plan)
            if maker.sizes[pair].impossible is None  # nothing to tune
        }
        self._running: dict[str, tuple[Pair, int]] = {}

    def start(self) -> list[Trial]:
        """The first trials of every search, and the comparison where the search is finished."""
        trials: list[Trial] = []
        for pair in pairs(self._maker.plan):
            if pair not in self._studies:
                trials += self._maker.comparison(pair)
                continue
            for trial in self._studies[pair].get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.user_attrs.get(OWNER) == self._uid:
                    trials.append(self._begin(pair, trial.number, trial.params))
            trials += self._next(pair)
        return trials

    def follow(self, trial: Trial, result: RunResult) -> list[Trial]:
        """Tell Optuna how a tuning trial ended, and say what is to run next."""
        if trial.id not in self._running or result.status == "interrupted":
            return []
        pair, number = self._running.pop(trial.id)
        study = self._studies[pair]
        if result.status == "diverged":
            study.tell(number, 0.0)  # known to be bad, which is worth remembering
        elif result.status == "done" and result.val_value is not None:
            study.tell(number, result.val_value)
        else:
            study.tell(number, state=TrialState.FAIL)
        return self._next(pair)

    def _next(self, pair: Pair) -> list[Trial]:
        study = self._studies[pair]
        started: list[Trial] = []
        active = sum(running == pair for running, _ in self._running.values())
        while active + len(started) < self._tuning.parallel and len(study.trials) < self._tuning.trials:
            # One seed a number: a search that was interrupted goes on as it would have, and all arms are offered the
            # same values while those are drawn blindly.
            seed = _seed(f"{self._maker.plan.name} {len(study.trials)}")
            study.sampler = optuna.samplers.TPESampler(n_startup_trials=BLIND, seed=seed)
            asked = study.ask(self._space)
            asked.set_user_attr(OWNER, self._uid)
            started.append(self._begin(pair, asked.number, asked.params))
        if started or active:
            return started
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)
        # Where every tuning trial failed, the plan's own values are what is left.
        return [*self._adopt(self._maker.comparison(pair, None if best is None else best.params))]

    def _begin(self, pair: Pair, number: int, params: dict[str, object]) -> Trial:
        trial = self._maker.tuning(pair, number, params)
        self._running[trial.id] = (pair, number)
        return trial

    def _study(self, pair: Pair, any_code: bool) -> optuna.Study:
        definition = f"{self._maker.definition(pair)} {sorted(self._tuning.space.items())}"
        digest = hashlib.sha256(definition.encode()).hexdigest()[:12]
        name = f"{self._maker.plan.name} {pair[0]} {pair[1]} {digest}"
        code = self._maker.code.rpartition("+")[2]
        if any_code:
            for known in optuna.get_all_study_names(self._storage):
                if known.startswith(name):
                    code = known.rpartition(" ")[2]
        return optuna.create_study(
            study_name=f"{name} {code}", storage=self._storage, direction="maximize", load_if_exists=True
        )


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
