"""What a plan can claim, before it runs: the smallest p of its comparisons and the effects that it finds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from scipy import special

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.verdict.evidence import smallest_p
from lit_adaptconv.verdict.family import TOGETHER
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.observations import observe
from lit_adaptconv.verdict.power import detectable_effect, seeds_to_find
from lit_adaptconv.verdict.speed import compare_times
from lit_adaptconv.verdict.statistics import Array, spread
from lit_adaptconv.verdict.verdict import common_target

ALPHA = 0.05
SHARE_SD = 0.0033
"""Standard deviation of a share, such as accuracy, between seeds, where nothing is known: 0.33 points."""
STEPS_SD = 0.17
"""The same of the logarithm of the ratio of two trials' steps: 0.12 for each of them."""
MOST_SEEDS = 100


@dataclass(frozen=True)
class Compared:
    """Comparisons of a plan that can find the same.

    Attributes:
        arms: Arms that are compared with the primary arm.
        budgets: Where: at each of these or, where they are taken together, over all of them.
        together: Whether the budgets are taken together.
        correction: What p is multiplied by for the family.
        smallest: Smallest corrected p; 0 where there is no smallest.
    """

    arms: tuple[str, ...]
    budgets: tuple[Limits | None, ...]
    together: bool
    correction: float
    smallest: float

    @property
    def can_claim(self) -> bool:
        """Whether it can reach the level of a claim."""
        return self.smallest <= ALPHA + 1e-9

    @property
    def by_budget(self) -> tuple[Compared, ...]:
        """The same, of each budget on its own where they are not taken together."""
        return (self,) if self.together else tuple(replace(self, budgets=(b,)) for b in self.budgets)

    def _sd(self, sd: float) -> float:
        return sd / math.sqrt(len(self.budgets)) if self.together else sd

    def detects(self, sd: float, seeds: int, steps: bool) -> float:
        """Smallest effect that it finds 4 times of 5: a difference, or the logarithm of a ratio of steps."""
        if not self.can_claim:
            return math.inf
        # permutations leave a level between two of their p unused
        used = ALPHA if not self.smallest else self.smallest * math.floor((ALPHA + 1e-9) / self.smallest)
        return detectable_effect(self._sd(sd), seeds, used / self.correction, steps)

    def seeds(self, effect: float, sd: float, steps: bool) -> int | None:
        """Fewest seeds with which it finds an effect 4 times of 5; None where 10,000 are too few."""
        least = next((n for n in range(2, MOST_SEEDS) if self._smallest(n, steps) <= ALPHA + 1e-9), None)
        found = seeds_to_find(effect, self._sd(sd), ALPHA / self.correction, steps)
        if found is None or least is None:
            return None
        n = max(found, least)
        while replace(self, smallest=self._smallest(n, steps)).detects(sd, n, steps) > effect * (1 + 1e-9):
            n += 1
        return n

    def _smallest(self, seeds: int, steps: bool) -> float:
        return smallest_corrected(seeds, steps, len(self.budgets) if self.together else 1, self.correction)


@dataclass(frozen=True)
class Prospect:
    """What a plan can claim on its question.

    Attributes:
        comparisons: Its comparisons, each arm over all its budgets first.
        alone: Arms that are compared with nothing.
        enough: Fewest seeds with which something can be claimed; None where nothing is compared.
    """

    comparisons: tuple[Compared, ...]
    alone: tuple[str, ...]
    enough: int | None

    @property
    def can_claim(self) -> bool:
        """Whether anything can be claimed."""
        return any(c.can_claim for c in self.comparisons)


def smallest_corrected(seeds: int, steps: bool, budgets: int, correction: float) -> float:
    """Smallest p of a comparison over so many budgets together, corrected."""
    if seeds < 2:
        return 1.0
    p = 0.0 if steps else smallest_p(seeds)
    if budgets > 1 and p:
        p = 2 * float(special.ndtr(math.sqrt(budgets) * special.ndtri(p / 2)))
    return min(1.0, p * correction)


def prospect(arms: Mapping[str, Sequence[Limits | None]], primary: str, seeds: int, steps: bool) -> Prospect:
    """What a plan can claim.

    Args:
        arms: The budgets of each arm.
        primary: The arm that the others are compared with.
        seeds: Seeds of each arm at each budget.
        steps: Whether the question is on steps to a target; else it is on the metric.
    """
    common = {arm: tuple(b for b in of if b in arms[primary]) for arm, of in arms.items() if arm != primary}
    family = sum(map(len, common.values()))
    asked = sum(map(bool, common.values()))
    several = any(len(budgets) > 1 for budgets in common.values())
    found = []
    for budgets in dict.fromkeys(common.values()):
        names = tuple(arm for arm, of in common.items() if of == budgets)
        if len(budgets) > 1:
            correction = asked / TOGETHER
            found.append(
                Compared(names, budgets, True, correction, smallest_corrected(seeds, steps, len(budgets), correction))
            )
        if budgets:
            each = max(float(family), asked / TOGETHER if several and len(budgets) == 1 else 1.0)
            found.append(Compared(names, budgets, False, each, smallest_corrected(seeds, steps, 1, each)))
    alone = [arm for arm, budgets in common.items() if not budgets and min(len(arms[arm]), len(arms[primary])) < 2]
    alone += [primary] if not family else []
    enough = (n for n in range(2, MOST_SEEDS) for c in found if c._smallest(n, steps) <= ALPHA + 1e-9)
    return Prospect(tuple(found), tuple(alone), next(enough, None))


def spread_of(
    results: pa.Table,
    curves: pa.Table,
    targets: Sequence[float],
    primary: str,
    metric: Metric,
    steps: bool,
    target: float | None,
) -> float:
    """Standard deviation between the seeds of an earlier sweep, over all its networks.

    Args:
        results: One row per trial.
        curves: One row per evaluation.
        targets: Its targets.
        primary: Its primary arm.
        metric: What it was judged by.
        steps: Whether that of the log-ratios of steps of two trials of one seed is wanted; else that of the metric.
        target: The target of the steps, if it is one of its targets; else the hardest that half of its trials reached.

    Raises:
        UserError: No network has two trials that show it.
    """
    if primary not in results["arm"].to_pylist():
        raise UserError(f"no trial of {primary} has begun there: name another sweep, or give --sd")
    seen = observe(results, targets, primary, curves, metric)
    values: Array
    if steps:
        ordered = tuple(sorted(targets, key=lambda t: metric.sign * t))
        times = seen.times(target if target in ordered else common_target(seen, ordered))
        pairs = times.time.shape[-1]
        flat = [np.broadcast_to(x[:1], x[1:].shape).reshape(-1, pairs) for x in (times.time, times.before, times.end)]
        mine = [x[1:].reshape(-1, pairs) for x in (times.time, times.before, times.end)]
        reached = np.isfinite(mine[0]) & np.isfinite(flat[0])
        speed = compare_times(type(times)(*mine), type(times)(*flat))
        values = np.where(reached, speed.differences, np.nan)
    else:
        values = seen.final().reshape(-1, seen.rows.shape[-1])
    degrees = np.maximum(np.isfinite(values).sum(1) - 1, 0)
    total = float((spread(values) ** 2 * degrees).sum())
    if not total:
        raise UserError("its trials do not show how much seeds differ: name another sweep, or give --sd")
    return math.sqrt(total / float(degrees.sum()))
