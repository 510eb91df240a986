"""What a number of seeds can find, and how many it takes: Student's test with a given spread."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

POWER = 0.8
"""Share of the sweeps that find an effect which is there."""
MOST_SEEDS = 10_000


def power(effect: float, sd: float, n: int, alpha: float = 0.05, paired: bool = False) -> float:
    """Share of the sweeps that find an effect, by Student's two-sided test.

    Args:
        effect: Difference of the means, such as 0.005 for 0.5 points, or the logarithm of a ratio of steps.
        sd: Standard deviation of the trials of an arm; of the differences of the pairs, where they are `paired`.
        n: Seeds of each arm.
        alpha: The error after correction, such as 0.05 / 3 for three budgets.
        paired: Whether trials are compared in pairs.

    Returns:
        0 with fewer than two seeds.
    """
    if n < 2:
        return 0.0
    freedom = n - 1 if paired else 2 * n - 2
    error = sd * math.sqrt((1 if paired else 2) / n)
    noncentral = min(abs(effect) / error, 1e6) if error else 1e6
    critical = -special.stdtrit(freedom, alpha / 2)
    if noncentral > 35:  # where SciPy's noncentral t loses its digits
        scales = freedom * ((noncentral + np.sqrt(3) * np.array([-1, 0, 1])) / critical) ** 2
        return float(np.dot(special.chdtr(freedom, scales), [1, 4, 1]) / 6)  # Gauss and Hermite's
    above, below = (special.nctdtr(freedom, noncentral, end) for end in (critical, -critical))
    return float(1 - above + np.nan_to_num(below))  # SciPy's is NaN where it is next to nothing


def detectable_effect(sd: float, n: int, alpha: float = 0.05, paired: bool = False, wanted: float = POWER) -> float:
    """Smallest effect that is found with the wanted power; infinite with fewer than two seeds."""
    if n < 2:
        return math.inf
    if sd == 0:
        return 0.0
    error = sd * math.sqrt((1 if paired else 2) / n)
    highest = error * (stats.t.isf(alpha / 2, n - 1 if paired else 2 * n - 2) + 4)
    while power(highest, sd, n, alpha, paired) < wanted:
        highest *= 2
    return float(optimize.brentq(lambda effect: power(effect, sd, n, alpha, paired) - wanted, 0, highest))


@lru_cache(maxsize=4096)
def seeds_to_find(
    effect: float, sd: float, alpha: float = 0.05, paired: bool = False, wanted: float = POWER
) -> int | None:
    """Fewest seeds with which an effect is found with the wanted power; None where 10,000 are too few."""
    normal = (special.ndtri(alpha / 2) - special.ndtri(wanted)) ** 2 * (1 if paired else 2)
    if not effect or normal * (sd / effect) ** 2 > MOST_SEEDS:
        return None
    n = max(2, int(normal * (sd / effect) ** 2))  # a little below, where Student's is the normal distribution
    while n > 2 and power(effect, sd, n - 1, alpha, paired) >= wanted:
        n -= 1
    while power(effect, sd, n, alpha, paired) < wanted:
        n += 1
    return n


def against_best(
    means: np.ndarray, sds: np.ndarray, ns: np.ndarray, alpha: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Simultaneous intervals of each mean less the best of the others.

    Hsu's constrained intervals, with Welch's standard errors and Bonferroni's level.

    Args:
        means: More is better, shape `(arms,)`.
        sds: Standard deviations of the trials, same shape.
        ns: Numbers of trials, same shape.
        alpha: The error.

    Returns:
        Lower and upper ends, same shape: an arm whose upper end is 0 is ruled out, one whose lower end is 0 is the
        best. Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best", Annals of
        Statistics 12 (1984).
    """
    count = len(means)
    if count < 2:
        return np.zeros(count), np.zeros(count)
    variance = sds**2 / ns
    error = np.sqrt(variance[:, None] + variance[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = error**4 / (variance[:, None] ** 2 / (ns[:, None] - 1) + variance[None, :] ** 2 / (ns[None, :] - 1))
    freedom = np.where(np.isfinite(freedom), freedom, 1.0)
    reach = stats.t.isf(alpha / (count - 1), freedom) * error
    gap = means[:, None] - means[None, :]
    others = ~np.eye(count, dtype=np.bool_)
    high = np.maximum(0.0, np.where(others, gap + reach, np.inf).min(1))
    candidates = (high > 0) | (means == means.max())  # without spread, two may be the best
    low = np.empty(count)
    for i in range(count):
        rivals = others[i] & candidates
        low[i] = min(0.0, (gap - reach)[i][rivals].min()) if rivals.any() else 0.0
    return low, high
