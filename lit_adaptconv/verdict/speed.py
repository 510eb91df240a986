"""From the times of two samples to the evidence on their ratio: by pairs, by a model, or a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lit_adaptconv.verdict.evidence import Evidence, Shares, paired, smallest_p
from lit_adaptconv.verdict.lognormal import FEWEST_EVENTS, Lognormal
from lit_adaptconv.verdict.statistics import Array, Mask, log_ratios


@dataclass(frozen=True)
class Times:
    """Times to a target of several samples, each of shape `(rows, n)`; NaN where there is no trial.

    Attributes:
        time: When a trial reached the target; infinite where it did not.
        before: The evaluation before that, 0 if there was none; the same as `time` where that is exact.
        end: The last evaluation of the trial.
    """

    time: Array
    before: Array
    end: Array

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> Times:
        return Times(self.time[rows], self.before[rows], self.end[rows])

    @property
    def known(self) -> Mask:
        """Which trials there are."""
        return ~np.isnan(self.time)

    @property
    def reached(self) -> Mask:
        """Which trials reached the target."""
        return np.isfinite(self.time)


@dataclass(frozen=True)
class Speed:
    """Evidence on ratios of times.

    Attributes:
        parts: The evidence, and the rows that it is about.
        differences: Log-ratios of the pairs, shape `(rows, n)`; NaN where there is no pair.
        smallest: Smallest p that each row could have, shape `(rows,)`; NaN where nothing is known.
    """

    parts: Sequence[tuple[Evidence, npt.NDArray[np.intp]]]
    differences: Array
    smallest: Array


def compare_times(times: Times, others: Times) -> Speed:
    """Compare times; a row's effect is the logarithm of the ratio to the other's.

    Where every trial reached the target: Student's paired t test of the log-ratios. Where some did not, or there are
    no pairs: a lognormal model of both samples, whose times are known to lie between two evaluations, or beyond the
    last. Where one sample
    never did: a bound, and a test of shares.

    Args:
        times: The first samples.
        others: The other samples; a column is a pair.
    """
    differences, _ = log_ratios(times.time, times.end, others.time, others.end)
    reached = np.stack([x.reached.sum(1) for x in (times, others)])
    known = np.stack([x.known.sum(1) for x in (times, others)])
    both = (known > 0).all(0) & (reached.sum(0) > 0)
    bound = both & (reached == 0).any(0)
    enough = np.isfinite(differences).sum(1) > 1
    some_cut = reached.sum(0) < known.sum(0)
    model = both & ~bound & (some_cut | ~enough) & (reached.sum(0) >= FEWEST_EVENTS) & (known >= 2).all(0)
    pairs = both & ~bound & ~some_cut & enough
    parts: list[tuple[Evidence, npt.NDArray[np.intp]]] = []
    smallest = np.where(pairs | model, 0.0, np.nan)
    if (rows := np.flatnonzero(pairs)).size:
        student = paired(differences[rows])
        sure = np.isfinite(student.freedom)
        rows = rows[sure]
        smallest[pairs] = np.where(sure, 0.0, np.nan)
        parts.append((type(student)(student.estimate[sure], student.error[sure], student.freedom[sure]), rows))
    if (rows := np.flatnonzero(model)).size:
        parts.append((_lognormal(times[rows], others[rows]), rows))
    if (rows := np.flatnonzero(bound)).size:
        shares, smallest[rows] = _shares(times[rows], others[rows])
        parts.append((shares, rows))
    return Speed(parts, differences, smallest)


def _lognormal(times: Times, others: Times) -> Lognormal:
    ends = []
    for x in (times, others):
        late = np.where(x.reached, x.before, x.end)
        late = np.where(x.reached, np.minimum(late, x.time * (1 - 1e-4)), late)
        ends.append((np.where(x.known, late, np.nan), np.where(x.reached, x.time, np.inf)))
    with np.errstate(divide="ignore"):
        low, high = (np.log(np.concatenate(pair, 1)) for pair in zip(*ends, strict=True))
    first = np.zeros(low.shape, np.bool_)
    first[:, : times.time.shape[1]] = True
    return Lognormal(low, high, first)


def _shares(times: Times, others: Times) -> tuple[Shares, Array]:
    never: Mask = np.asarray(~times.reached.any(1))
    sign = np.where(never, 1.0, -1.0)
    slow, other = (np.where(never[:, np.newaxis], *pair) for pair in ((times.end, others.end), (others.end, times.end)))
    longest, other_longest = (np.where(np.isfinite(x), x, -np.inf).max(1) for x in (slow, other))
    end = np.where(np.isfinite(longest), longest, other_longest)  # all diverged before they recorded anything
    followed = (slow >= end[:, None] * (1 - 1e-9)).sum(1).astype(np.float64)
    fast = np.where(never[:, np.newaxis], others.time, times.time)
    number = np.where(never, others.known.sum(1), times.known.sum(1)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        room = np.where(np.isfinite(fast), np.log(end[:, None] / fast), -np.inf)
    shares = Shares(sign * np.inf, room, followed, number, sign)
    smallest = [smallest_p(int(n), int(m)) for n, m in zip(number, followed, strict=True)]
    return shares, np.minimum(1.0, np.array(smallest))
