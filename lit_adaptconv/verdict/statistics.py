"""The statistics of a sweep, on plain arrays: a row is a sample, a column a trial or a pair, NaN a missing one.

Every function takes many samples at once, so that a sweep of thousands of trials is summarised in seconds. What each
measure means, and why it was chosen, is in `docs/fair_comparison.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

RESAMPLES = 9_999
"""Bootstrap resamples, and sign flips where there are too many to enumerate."""
EXACT_PAIRS = 13
"""Largest number of pairs whose 2ⁿ sign flips are all enumerated."""
MIN_VALUES = 5
"""Fewest values with an interval: a bootstrap cannot leave their range, which for four holds the mean 7 times of 8."""
_BLOCK_ROWS = 256  # 256 samples × 9,999 resamples: 20 MB at a time
_ROUNDING = 1e-12  # relative; sums in another order differ by less


def kaplan_meier_median(times: Array, reached: Mask, confidence: float = 0.95) -> tuple[Array, Array, Array]:
    """Kaplan–Meier median of right-censored times, with the Brookmeyer–Crowley interval on the log-log scale.

    The median is the smallest time at which the survival function is at most a half; the interval's ends are the
    smallest times at which its pointwise upper and lower confidence limits are.

    Args:
        times: Time of the event, or of censoring, shape `(samples, n)`; NaN where there is no observation.
        reached: Whether it was the event, same shape.
        confidence: Level of the interval.

    Returns:
        Median, lower and upper end, each of shape `(samples,)`; NaN where the curve does not come down to a half.
        Brookmeyer and Crowley, "A confidence interval for the median survival time", Biometrics 38 (1982).
    """
    observed = np.isfinite(times)
    times = np.where(observed, times, np.inf)
    event = reached & observed
    order = np.lexsort((~event, times), axis=-1)  # at the same time, events before censorings
    times, event = np.take_along_axis(times, order, -1), np.take_along_axis(event, order, -1)
    at_risk = np.maximum(observed.sum(-1, keepdims=True) - np.arange(times.shape[-1]), 1).astype(np.float64)
    # One factor a trial; tied events telescope to the usual (n - d) / n, as do Greenwood's terms.
    survival = np.asarray(np.cumprod(np.where(event, 1 - 1 / at_risk, 1.0), -1), dtype=np.float64)
    last = at_risk == 1
    greenwood = np.cumsum(np.where(event & ~last, 1 / (at_risk * np.where(last, 1, at_risk - 1)), 0.0), -1)
    inside = (survival > _ROUNDING) & (survival < 1)
    log_survival = np.log(np.where(inside, survival, 0.5))
    z = stats.norm.ppf((1 + confidence) / 2)
    factor = np.exp(z * np.sqrt(greenwood) / np.abs(log_survival))
    lower = np.where(inside, np.exp(log_survival * factor), np.where(survival < 0.5, 0.0, 1.0))
    # Where the curve is zero its variance is undefined, and no upper limit is known.
    upper = np.where(inside, np.exp(log_survival / factor), 1.0)
    ends = np.concatenate([times[..., 1:] > times[..., :-1], np.ones_like(event[..., :1])], -1) & np.isfinite(times)

    def first(curve: Array) -> Array:
        below = (curve <= 0.5 + _ROUNDING) & ends
        index = below.argmax(-1)[..., None]
        found = np.take_along_axis(np.where(below, times, np.nan), index, -1)
        return np.asarray(found[..., 0], dtype=np.float64)

    return first(survival), first(lower), first(upper)


def log_ratios(times: Array, ends: Array, other_times: Array, other_ends: Array) -> tuple[Array, Mask]:
    """Log-ratio of the times of the two trials of each pair, with censored trials.

    Where every pair of a sample reached the target in both trials, these are `log(time / other_time)`. Otherwise each
    pair of that sample is compared over the span for which both of its trials were followed: a time beyond it, or not
    reached at all, counts as its end. That brings a pair's log-ratio nearer to zero, never beyond it, and swapping the
    arms changes nothing but its sign, which is what a sign-flip test needs.

    Args:
        times: When a trial reached the target; infinite where it did not, NaN where there is no trial,
            shape `(samples, n)`.
        ends: How long each trial was followed; infinite where it is certain that it would never reach the target.
        other_times: The same for the other trial of each pair.
        other_ends: The same for the other trial of each pair.

    Returns:
        Log-ratios, NaN where a trial of the pair is missing; and which pairs have a time that was cut off.
        Both of shape `(samples, n)`.
    """
    known = ~np.isnan(times) & ~np.isnan(other_times) & ~np.isnan(ends) & ~np.isnan(other_ends)
    censored = known & (np.isinf(times) | np.isinf(other_times))
    horizon = np.where(censored.any(-1, keepdims=True), np.minimum(ends, other_ends), np.inf)
    a, b = np.minimum(times, horizon), np.minimum(other_times, horizon)
    tied = ~known | (a == b)  # two that would never reach it are tied as well
    a, b = np.where(tied, 1.0, a), np.where(tied, 1.0, b)
    cut = censored | (known & (np.maximum(times, other_times) > horizon))
    return np.where(known, np.log(a / b), np.nan), cut


def sign_flip_test(differences: Array) -> Array:
    """Two-sided p of a paired permutation test of the mean: under no effect each difference may have either sign.

    Exact up to 13 pairs, by enumeration; beyond, from 9,999 random flips, the observed one counted. As
    `scipy.stats.permutation_test(..., permutation_type="samples")`, for many samples at once.

    Args:
        differences: Shape `(samples, n)`; NaN where there is no pair.

    Returns:
        p of each sample, shape `(samples,)`; 1 where all differences are zero, NaN where there are no pairs.
    """
    p = np.full(len(differences), np.nan)
    for rows, sample in _by_size(differences):
        n = sample.shape[1]
        if n <= EXACT_PAIRS:
            signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        else:
            signs = np.where(np.random.default_rng(0).random((RESAMPLES, n)) < 0.5, -1.0, 1.0)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = sample[start : start + _BLOCK_ROWS]
            observed = np.abs(block.sum(1)) - _ROUNDING * np.abs(block).sum(1)
            extreme = np.sum(np.abs(block @ signs.T) >= observed[:, None], axis=1)
            found = extreme / 2**n if n <= EXACT_PAIRS else (extreme + 1) / (RESAMPLES + 1)
            p[rows[start : start + _BLOCK_ROWS]] = found
    return p


def smallest_p(pairs: int) -> float:
    """Smallest p that `sign_flip_test` can give with this number of pairs: 2 / 2ⁿ; below six it is above 0.05."""
    return 2.0 ** (1 - pairs) if 0 < pairs <= EXACT_PAIRS else 1.0 if pairs <= 0 else 1 / (RESAMPLES + 1)


def mean_interval(values: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """Bias-corrected and accelerated (BCa) bootstrap interval of the mean, expanded for small samples.

    BCa is right only for large samples: with ten pairs its 95 % interval covers 90 %. Its level is therefore raised to
    the one at which a normal interval would have the length of Student's: the tail `α/2` becomes
    `Φ(−√(n/(n−1)) · t_{1−α/2, n−1})`. The same resamples serve all samples of one size.

    Args:
        values: Shape `(samples, n)`; NaN where there is no value.
        confidence: Level of the interval.

    Returns:
        Lower and upper end, each of shape `(samples,)`; NaN with fewer than five values, or where all are equal.
        Efron, "Better bootstrap confidence intervals", JASA 82 (1987); Hesterberg, "What teachers should know about
        the bootstrap", The American Statistician 69 (2015).
    """
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    sd = spread(values)
    possible = (sd > 0) & (np.isfinite(values).sum(1) >= MIN_VALUES)
    for rows, sample in _by_size(np.where(possible[:, None], values, np.nan)):
        n = sample.shape[1]
        weights = _bootstrap_weights(n)
        tail = float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + confidence) / 2, n - 1)))
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            mean, scale = sample[block].mean(1), sd[rows[block]]
            standard = (sample[block] - mean[:, None]) / scale[:, None]
            means = np.sort(standard.astype(np.float32) @ weights.T, axis=1)
            ends = _bca(standard, means, max(tail, 1e-12))  # far beyond the last resample, and not infinitely far
            low[rows[block]], high[rows[block]] = (mean + scale * end for end in ends)
    return low, high


def _bootstrap_weights(n: int) -> npt.NDArray[np.float32]:
    """How often each of n values is in each resample, divided by n; shape `(resamples, n)`."""
    random = np.random.default_rng(0)
    weights = np.empty((RESAMPLES, n), np.float32)  # half the memory, and sorted twice as fast
    for block in np.array_split(weights, 1 + RESAMPLES * n // 10**7):
        block[:] = random.multinomial(n, np.full(n, 1 / n), len(block)) / n
    return weights


def _bca(deviations: Array, means: npt.NDArray[np.float32], tail: float) -> tuple[Array, Array]:
    """Ends of the BCa interval of standardised deviations from their means, whose resampled means are ascending."""
    resamples = means.shape[1]
    equal = 1e-6  # float32
    below = ((means < -equal).sum(1) + (means <= equal).sum(1)) / (2 * resamples)
    bias = stats.norm.ppf(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    acceleration = (deviations**3).sum(1) / (6 * (deviations**2).sum(1) ** 1.5)
    ends = []
    for z in (stats.norm.ppf(tail), -stats.norm.ppf(tail)):
        divisor = np.maximum(1 - acceleration * (bias + z), 1e-9)  # beyond its pole the formula would turn back
        level = stats.norm.cdf(bias + (bias + z) / divisor)
        position = level * (resamples - 1)
        before = np.floor(position).astype(np.intp)
        after = np.minimum(before + 1, resamples - 1)
        each = np.arange(len(means))
        ends.append(means[each, before] + (position - before) * (means[each, after] - means[each, before]))
    return ends[0], ends[1]


def spread(values: Array) -> Array:
    """Standard deviation (n − 1) of each sample; zero where the values differ by rounding only or are fewer than two.

    Args:
        values: Shape `(samples, n)`; NaN where there is no value.
    """
    present = np.isfinite(values)
    n = present.sum(1)
    filled = np.where(present, values, 0.0)
    mean = filled.sum(1) / np.maximum(n, 1)
    deviation = np.where(present, filled - mean[:, None], 0.0)
    sd = np.sqrt((deviation**2).sum(1) / np.maximum(n - 1, 1))
    return np.where(sd > _ROUNDING * np.abs(filled).max(1, initial=0.0), sd, 0.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: claims at `adjusted p ≤ α` are all true with probability at least 1 − α.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _by_size(values: Array) -> Iterator[tuple[npt.NDArray[np.intp], Array]]:
    """The samples of each size, without their missing values, and the rows where they stand."""
    present = np.isfinite(values)
    sizes = present.sum(1)
    for n in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == n)
        yield rows, values[rows][present[rows]].reshape(len(rows), n)
