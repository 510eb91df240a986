"""Tuning: every arm at every budget tries the same values, and the comparison begins when all have been judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lit_adaptconv.measure.budget import limits_text
from lit_adaptconv.sweep.drawing import draw, edge
from lit_adaptconv.sweep.folder import SweepFolder
from lit_adaptconv.sweep.plan import ArmBudget, Tuning
from lit_adaptconv.sweep.trial import Trial, TrialMaker
from lit_adaptconv.sweep.tuning_table import tuning_row
from lit_adaptconv.train.result import RunResult

Adopt = Callable[[Sequence[Trial]], Sequence[Trial]]


class Tuner:
    """Makes the tuning trials of a plan, and from their results the comparison.

    The trials' folders are the memory: what has ended there is not run again, and the rest are the same trials.

    Args:
        maker: Makes the trials.
        tuning: What is searched.
        adopt: Exchanges trials for ones that are finished, see `SweepFolder.finished_before`.

    Attributes:
        trials: The tuning trials, the values one after the other, all arms and budgets of a seed side by side. Values
            that an arm's own settings replace are tried once.
    """

    def __init__(self, maker: TrialMaker, tuning: Tuning, adopt: Adopt = lambda trials: trials) -> None:
        self._maker = maker
        self._space = tuning.space
        self._adopt = adopt
        self._values = draw(tuning.space, tuning.trials)
        self._results: dict[str, RunResult] = {}
        self._compared: tuple[list[ArmBudget], Sequence[Trial]] | None = None
        tuned = [at for at in maker.plan.arm_budgets if maker.sizes[at].impossible is None]
        made = [
            [maker.tuning(at, number, values, tuning.seeds) for at in tuned]
            for number, values in enumerate(self._values)
        ]
        every = [trial for of_values in made for of_seed in zip(*of_values, strict=True) for trial in of_seed]
        places = [(ArmBudget(trial.arm, trial.budget), trial.tuning) for trial in every]
        taken = adopt(every)
        self.trials = tuple({trial.id: trial for trial in taken}.values())
        self._left = {trial.id for trial in self.trials}
        self._ids: dict[tuple[ArmBudget, int | None], list[str]] = {}
        for place, trial in zip(places, taken, strict=True):
            self._ids.setdefault(place, []).append(trial.id)

    def start(self) -> Sequence[Trial]:
        """The tuning trials, or the comparison where no arm can be tuned."""
        return self.trials or self.comparison()

    def follow(self, trial: Trial, result: RunResult) -> Sequence[Trial]:
        """Take down how a tuning trial ended; the last is followed by the comparison."""
        if trial.tuning is None or result.status == "interrupted":
            return []
        self._results[trial.id] = result
        self._left.discard(trial.id)
        return [] if self._left else self.comparison()

    def recall(self, folder: SweepFolder) -> Sequence[Trial]:
        """The comparison, as far as the folder knows how the tuning trials ended."""
        known = {trial.id: folder.settled(trial) for trial in self.trials}
        self._results = {id: result for id, result in known.items() if result is not None}
        return self.comparison()

    @property
    def _judged(self) -> list[ArmBudget]:
        """The arms and budgets of which every tuning trial is known to have ended, in their order."""
        left = {at for (at, _), ids in self._ids.items() for id in ids if id not in self._results}
        return [at for at in self._maker.plan.arm_budgets if at not in left]

    def comparison(self) -> Sequence[Trial]:
        """The trials of the comparison at the arms and budgets that are judged.

        Before every tuning trial has ended, those may have run already, by a plan that had not all of these arms.
        """
        places = self._judged
        if self._compared is None or self._compared[0] != places:
            tuned = {at: None if (best := self._best(at)) is None else self._values[best] for at in places}
            trials = [trial for trial in self._maker.all(tuned) if ArmBudget(trial.arm, trial.budget) in places]
            self._compared = places, self._adopt(trials)
        return self._compared[1]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `tuning.parquet`, each trial once, of the arms and budgets that are judged."""
        found: dict[str, dict[str, Any]] = {}
        for at in self._judged:
            for number, values in enumerate(self._values):
                for id in self._ids.get((at, number), ()):
                    found.setdefault(id, tuning_row(at, number, values, self._results[id]))
        return [*found.values()]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of what was found for the arms and budgets that are judged, a line each."""
        lines = []
        for at in self._judged:
            budget = "" if at.budget is None else f" at {limits_text(at.budget)}"
            if (best := self._best(at)) is not None:
                for name, search in self._space.items():
                    tried = [values[name] for values in self._values]
                    if chosen := edge(search, tried, self._values[best][name]):
                        lines.append(f"{at.arm}{budget}: tuning chose {name} {chosen}; what lies beyond may be better.")
            elif self._maker.sizes[at].impossible is None:
                lines.append(f"{at.arm}{budget}: every tuning trial failed, so the plan's own values are used.")
        return tuple(lines)

    def _best(self, at: ArmBudget) -> int | None:
        """The number of the values with the best mean; None where no trial of any is done.

        Values of which a seed failed or diverged are behind all of which none did, the more seeds the further; among
        equals the first that was drawn is chosen.
        """
        sign = self._maker.plan.metric.sign

        def rank(number: int) -> tuple[int, float]:
            results = [self._results[id] for id in self._ids.get((at, number), ())]
            ended = [r.val_value for r in results if r.status == "done" and r.val_value is not None]
            values = [value for value in ended if math.isfinite(value)]
            return len(values), sign * math.fsum(values) / len(values) if values else -math.inf

        best = max(range(len(self._values)), key=rank)
        return best if rank(best)[0] else None


def foreseen(maker: TrialMaker, folder: SweepFolder, accept_old: bool = False) -> tuple[list[Trial], set[str]]:
    """All trials of a plan as far as they are known, and the ids of those that are not run again.

    While a trial of an arm's tuning has not ended, those of its comparison stand there with the plan's own values, and
    none of them is done.

    Args:
        maker: Makes the trials.
        folder: The sweep's folder.
        accept_old: Whether trials that other code of the package finished are taken as they are.
    """
    adopt: Adopt = folder.adopted if accept_old else lambda trials: trials
    if maker.plan.tuning is None:
        trials = [*adopt([*maker.all()])]
        return trials, folder.done(trials)
    tuner = Tuner(maker, maker.plan.tuning, adopt)
    compared = tuner.recall(folder)
    places = {ArmBudget(trial.arm, trial.budget) for trial in compared}
    others = [trial for trial in maker.all() if ArmBudget(trial.arm, trial.budget) not in places]
    return [*tuner.trials, *compared, *others], folder.done(tuner.trials) | folder.done(compared)
