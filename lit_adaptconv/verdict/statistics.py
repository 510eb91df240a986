"""The statistics of a sweep, on plain arrays: a row is a sample, a column a trial or a pair, NaN a missing one.

Every function takes many samples at once, so that a sweep of thousands of trials is summarised in seconds. What each
measure means, and why it was chosen, is in `docs/fair_comparison.md`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_ROUNDING = 1e-12  # relative; sums in another order differ by less


def kaplan_meier_median(times: Array, reached: Mask, confidence: float = 0.95) -> tuple[Array, Array, Array]:
    """Kaplan–Meier median of right-censored times, with an interval between two of the times.

    The median is the time at which the survival function falls below a half; where it is a half for a while, the
    middle of that while, as for complete samples. The interval's ends are the k-th smallest and the k-th largest
    time, with the largest k that the binomial distribution of the number of times below the median allows, whatever
    the times' distribution. A censored time counts as its end for the lower end and as infinite for the upper.

    Args:
        times: Time of the event, or of censoring, shape `(samples, n)`; NaN where there is no observation.
        reached: Whether it was the event, same shape.
        confidence: Level of the interval.

    Returns:
        Median, lower and upper end, each of shape `(samples,)`; NaN where the curve does not come down to a half, and
        for an
        end that is not known: with fewer than six times, at 95 %, there is none.
        Kaplan and Meier, JASA 53 (1958); Thompson, Annals of Mathematical Statistics 7 (1936): the interval.
    """
    observed = np.isfinite(times)
    times = np.where(observed, times, np.inf)
    event = reached & observed
    order = np.lexsort((~event, times), axis=-1)  # at the same time, events before censorings
    sorted_times, event = np.take_along_axis(times, order, -1), np.take_along_axis(event, order, -1)
    number = observed.sum(-1)
    at_risk = np.maximum(number[:, None] - np.arange(times.shape[-1]), 1).astype(np.float64)
    # One factor a trial; tied events telescope to the usual (n - d) / n.
    survival = np.asarray(np.cumprod(np.where(event, 1 - 1 / at_risk, 1.0), -1), dtype=np.float64)

    def first(below: Mask) -> Array:
        index = (below & event).argmax(-1)[..., None]
        found = np.take_along_axis(np.where(below & event, sorted_times, np.nan), index, -1)
        return np.asarray(found[..., 0], dtype=np.float64)

    start, stop = first(survival <= 0.5 + _ROUNDING), first(survival < 0.5 - _ROUNDING)
    level = np.abs(np.where(event & (sorted_times == start[:, None]), survival, np.inf).min(-1, initial=np.inf) - 0.5)
    median = np.where((level <= _ROUNDING) & np.isfinite(stop), (start + stop) / 2, start)
    k = stats.binom.ppf((1 - confidence) / 2, np.maximum(number, 1), 0.5).astype(np.intp)
    k -= stats.binom.cdf(k, np.maximum(number, 1), 0.5) > (1 - confidence) / 2 + _ROUNDING  # ordered from 0
    each, possible = np.arange(len(times)), (k >= 0) & (number > 0)
    lowest = np.sort(times, -1)[each, np.maximum(k, 0)]
    late = np.sort(np.where(reached & observed, times, np.inf), -1)
    highest = late[each, np.maximum(number - 1 - np.maximum(k, 0), 0)]
    low, high = np.where(possible, lowest, np.nan), np.where(possible & np.isfinite(highest), highest, np.nan)
    return median, np.where(np.isfinite(low), low, np.nan), high


def log_ratios(times: Array, ends: Array, other_times: Array, other_ends: Array) -> tuple[Array, Mask]:
    """Log-ratio of the times of the two trials of each pair, with censored trials.

    Where a trial of the pair did not reach the target, both are compared over the span for which both were
    followed: a time beyond it, or not reached at all, counts as just after its end. That brings the log-ratio nearer to
    zero, never to it where it is known who was first, and swapping the arms changes nothing but its sign.

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
    horizon = np.where(censored, np.minimum(ends, other_ends), np.inf)
    late = horizon * (1 + 1e-9)
    a = np.where(times > horizon, late, times)
    b = np.where(other_times > horizon, late, other_times)
    tied = ~known | (a == b)  # two that would never reach it are tied as well
    a, b = np.where(tied, 1.0, a), np.where(tied, 1.0, b)
    return np.where(known, np.log(a / b), np.nan), censored


def student_interval(values: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """Student's interval of the mean.

    Args:
        values: Shape `(samples, n)`; NaN where there is no value.
        confidence: Level of the interval.

    Returns:
        Lower and upper end, each of shape `(samples,)`; NaN with fewer than two values, or where all are equal.
        Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    n = np.isfinite(values).sum(1)
    sd = spread(values)
    known = (n > 1) & (sd > 0)
    mean = np.where(np.isfinite(values), values, 0.0).sum(1) / np.maximum(n, 1)
    reach = stats.t.isf((1 - confidence) / 2, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))
    return np.where(known, mean - reach, np.nan), np.where(known, mean + reach, np.nan)


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
