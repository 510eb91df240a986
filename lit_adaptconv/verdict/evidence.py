"""What a sample says of an effect: one-sided p values for any value that the effect may have.

A p, a confidence interval and a test of equivalence are three readings of the same two functions, so they never
contradict each other: `above` is the p of "the effect is at most this", `below` that of "the effect is at least this".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt
from scipy import special

from lit_adaptconv.verdict.statistics import Array, spread

PERMUTATIONS = 19_999
"""Random permutations, where there are more than can be enumerated."""
ENUMERATED = 13_000
"""Most permutations that are enumerated: those of eight seeds against eight."""
KEPT = 64
"""Most seeds whose permutations are kept in memory for the next comparison."""
AT_ONCE = 4_000_000
"""Weights of permutations that are in memory at a time, where they are not kept."""
SURE = 1e-4  # a budget whose p is 1 does not outweigh all others
HALVINGS = 40


class Evidence(ABC):
    """Evidence on the effects of several comparisons, a row each.

    Attributes:
        estimate: The effects; infinite where only a bound is known, NaN where nothing is.
    """

    estimate: Array

    @abstractmethod
    def above(self, effect: Array) -> Array:
        """P of "the effect is at most `effect`", shape `(rows,)`: small where it is above."""

    @abstractmethod
    def below(self, effect: Array) -> Array:
        """P of "the effect is at least `effect`", shape `(rows,)`: small where it is below."""

    @abstractmethod
    def ends(self, tail: Array) -> tuple[Array, Array]:
        """Between which effects neither p is at most `tail`, each of shape `(rows,)`; infinite without an end."""

    @abstractmethod
    def range(self) -> tuple[Array, Array]:
        """Effects beyond which nothing is left to find, each of shape `(rows,)`."""

    def p(self, effect: Array) -> Array:
        """Two-sided p of "the effect is `effect`", shape `(rows,)`."""
        return np.asarray(np.minimum(1.0, 2 * np.minimum(self.above(effect), self.below(effect))))


@dataclass(frozen=True)
class Student(Evidence):
    """A mean and its standard error, with Student's distribution."""

    estimate: Array
    error: Array
    freedom: Array

    def above(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray(special.stdtr(self.freedom, (effect - self.estimate) / self.error))

    def below(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray(special.stdtr(self.freedom, (self.estimate - effect) / self.error))

    def ends(self, tail: Array) -> tuple[Array, Array]:
        """See `Evidence`."""
        reach = -special.stdtrit(self.freedom, tail) * self.error
        return self.estimate - reach, self.estimate + reach

    def range(self) -> tuple[Array, Array]:
        """See `Evidence`."""
        return self.ends(np.asarray(1e-9))


def paired(differences: Array) -> Student:
    """Student's paired t test.

    Args:
        differences: Shape `(rows, n)`; NaN where there is no pair.

    Returns:
        NaN with fewer than two pairs, or where all differences are equal.
    """
    n = np.isfinite(differences).sum(1)
    sd = spread(differences)
    mean = np.nansum(differences, 1) / np.maximum(n, 1)
    known = (n > 1) & (sd > 0)
    error = np.where(known, sd / np.sqrt(np.maximum(n, 1)), np.nan)
    return Student(np.where(n > 0, mean, np.nan), error, np.where(known, n - 1.0, np.nan))


@dataclass(frozen=True)
class Shifted(Evidence):
    """Evidence on an effect that is larger by a known amount, as a ratio of costs is by that of the costs of a step."""

    of: Evidence
    by: Array

    @property
    def estimate(self) -> Array:  # type: ignore[override]
        """See `Evidence`."""
        return self.of.estimate + self.by

    def above(self, effect: Array) -> Array:
        """See `Evidence`."""
        return self.of.above(effect - self.by)

    def below(self, effect: Array) -> Array:
        """See `Evidence`."""
        return self.of.below(effect - self.by)

    def ends(self, tail: Array) -> tuple[Array, Array]:
        """See `Evidence`."""
        low, high = self.of.ends(tail)
        return low + self.by, high + self.by

    def range(self) -> tuple[Array, Array]:
        """See `Evidence`."""
        low, high = self.of.range()
        return low + self.by, high + self.by


@dataclass(frozen=True)
class Permuted(Evidence):
    """The permutation test of a difference of means, and its inversion.

    Exchanging k values of one sample for k of the other makes the difference of means at least as large as it is where
    the effect is at least that by which the former exceed the latter on average. So the mean differences of the
    exchanged values are the effects at which the permutations turn, and the test's p at any effect is its rank among
    them.

    Attributes:
        estimate: Difference of the means.
        turns: Effects at which the permutations turn, ascending, shape `(rows, permutations - 1)`.
    """

    estimate: Array
    turns: Array

    def above(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray((1.0 + self._rank(effect, "right")) / (1 + self.turns.shape[1]))

    def below(self, effect: Array) -> Array:
        """See `Evidence`."""
        count = self.turns.shape[1]
        return np.asarray((1.0 + count - self._rank(effect, "left")) / (1 + count))

    def ends(self, tail: Array) -> tuple[Array, Array]:
        """See `Evidence`."""
        count = self.turns.shape[1]
        left = np.floor(np.broadcast_to(tail, self.estimate.shape) * (count + 1) * (1 + 1e-12)).astype(np.intp) - 1
        each, place = np.arange(len(self.turns)), np.clip(left, 0, count - 1)
        low, high = self.turns[each, place], self.turns[each, count - 1 - place]
        return np.where(left < 0, -np.inf, low), np.where(left < 0, np.inf, high)

    def range(self) -> tuple[Array, Array]:
        """See `Evidence`."""
        return self.turns[:, 0] - 1e-9, self.turns[:, -1] + 1e-9

    def _rank(self, effect: Array, side: str) -> Array:
        equal = 1e-10 * np.abs(self.turns[:, [0, -1]]).max(1)
        effect = np.broadcast_to(effect, self.estimate.shape) + (equal if side == "right" else -equal)
        return np.array([t.searchsorted(e, side) for t, e in zip(self.turns, effect, strict=True)], np.float64)


def permuted(values: Array, others: Array) -> Permuted:
    """The permutation test of a difference of means, for samples of one size and others of one size.

    With two samples of one size its p is that of the studentised difference too, which orders the permutations alike.

    Args:
        values: Shape `(rows, n)`.
        others: Shape `(rows, m)`.

    Returns:
        Exact up to eight against eight, by enumeration; beyond, from 19,999 random permutations and the observed one.
        Pitman, "Significance tests which may be applied to samples from any populations", Supplement to the Journal of
        the Royal Statistical Society 4 (1937).
    """
    n, m = values.shape[1], others.shape[1]
    both = np.concatenate([values, others], 1)
    centred = both - both.mean(1, keepdims=True)
    turns = np.concatenate([centred @ part.T for part in (_kept(n, m) if n + m <= KEPT else _exchanges(n, m))], 1)
    rounding = 1e-9 * np.abs(both).max(1, keepdims=True)
    for row, near in zip(turns, rounding, strict=True):
        row[np.abs(row) <= near] = 0.0
        row.sort()
    return Permuted(values.mean(1) - others.mean(1), turns)


def _exchanges(n: int, m: int) -> Iterator[Array]:
    """How each permutation but the observed one weighs the values that it exchanges, `(part of them, n + m)`."""
    if comb(n + m, n) <= ENUMERATED:
        taken = np.array(list(combinations(range(n + m), n)))
        first = np.zeros((len(taken), n + m), np.bool_)
        np.put_along_axis(first, taken, True, 1)
        parts = iter([first[1:]])  # the first combination is the sample as it is
    else:
        random = np.random.default_rng(0)
        most = max(1, AT_ONCE // (n + m))
        counts = (min(most, PERMUTATIONS - start) for start in range(0, PERMUTATIONS, most))
        parts = (_chosen(random.random((count, n + m)), n) for count in counts)
    signs = np.concatenate([np.ones(n), -np.ones(m)])
    for first in parts:
        moved = np.concatenate([~first[:, :n], first[:, n:]], 1)
        yield moved * signs / np.maximum(moved[:, :n].sum(1, keepdims=True), 1)


def _chosen(numbers: Array, n: int) -> npt.NDArray[np.bool_]:
    """Choose `n` places in each row."""
    if numbers.shape[1] <= KEPT:
        return numbers.argsort(1) < n
    return numbers <= np.partition(numbers, n - 1, 1)[:, n - 1 : n]  # quicker than to sort


@lru_cache(maxsize=4)
def _kept(n: int, m: int) -> tuple[Array, ...]:
    return tuple(_exchanges(n, m))


def smallest_p(n: int, m: int | None = None) -> float:
    """Smallest p that `permuted` can give for n seeds against m (by default n)."""
    m = n if m is None else m
    return min(1.0, 2 / min(comb(n + m, n), PERMUTATIONS + 1 if comb(n + m, n) > ENUMERATED else ENUMERATED))


@dataclass(frozen=True)
class Shares(Evidence):
    """A bound on the ratio of two times of which one was never reached, from shares: Fisher's exact test.

    If the one takes at most `r` times as long as the other, it is reached by the end of the training with at least the
    probability with which the other is reached by that end divided by r. So none of these are compared with how many of
    those.

    Attributes:
        estimate: Infinite: the effect has no estimate.
        room: Logarithms of the end of the training / the times that were reached, shape `(rows, n)`; -inf where not.
        others: Number of trials without the target, shape `(rows,)`.
        number: Number of trials of the other sample.
        sign: 1 where the sample that never reached the target is the first, -1 where it is the second.
    """

    estimate: Array
    room: Array
    others: Array
    number: Array
    sign: Array

    def _p(self, effect: Array) -> Array:
        k = (self.room >= np.broadcast_to(effect, self.sign.shape)[:, None] - 1e-12).sum(1)
        return self._hypergeometric(k)

    def _hypergeometric(self, k: Array) -> Array:
        k = np.minimum(k, self.number)

        def choose(n: Array) -> Array:
            return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))

        return np.asarray(np.minimum(1.0, np.exp(choose(self.number) - choose(self.number + self.others))))

    def above(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.where(self.sign > 0, self._p(effect), 1.0)

    def below(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.where(self.sign < 0, self._p(-np.asarray(effect)), 1.0)

    def ends(self, tail: Array) -> tuple[Array, Array]:
        """See `Evidence`."""
        room = -np.sort(-self.room, 1)  # the fastest first
        counts = np.arange(1, room.shape[1] + 1)[:, None]
        enough = np.stack([self._hypergeometric(k) <= tail for k in counts], 1) & np.isfinite(room)
        first = enough.argmax(1)
        bound = np.where(enough.any(1), np.take_along_axis(room, first[:, None], 1)[:, 0], -np.inf)
        return np.where(self.sign > 0, bound, -np.inf), np.where(self.sign < 0, -bound, np.inf)

    def range(self) -> tuple[Array, Array]:
        """See `Evidence`."""
        reach = np.where(np.isfinite(self.room), np.abs(self.room), 0.0).max(1) + 1.0
        return -reach, reach


@dataclass(frozen=True)
class Together(Evidence):
    """Independent evidence on one effect from several budgets, by the mean of their normal scores.

    The p values of all budgets at an effect become normal scores, whose sum over the root of their number is a normal
    score again. The estimate is where it is zero: a mean of the budgets' effects in which each counts by the inverse
    of its standard error, nearly. Its interval is the effects at which the score is small.

    Args:
        parts: Evidence, and for each of its rows the number of the arm that it is about; -1 where it does not count.
        arms: Number of arms.

    Singh, Xie, Strawderman, "Combining information from independent sources through confidence distributions",
    Annals of Statistics 33 (2005).
    """

    parts: tuple[tuple[Evidence, npt.NDArray[np.intp]], ...]
    arms: int

    @cached_property
    def estimate(self) -> Array:  # type: ignore[override]
        """The effects, shape `(arms,)`; infinite where there is only a bound, NaN where nothing is known."""

        def balance(effect: Array) -> Array:
            return self._scores(effect, True) - self._scores(effect, False)

        ends = np.stack([self._root(balance, strict) for strict in (False, True)])  # it may be zero for a while
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(ends[0] == ends[1], ends[0], ends.mean(0)))

    def above(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray(special.ndtr(self._scores(effect, True)))

    def below(self, effect: Array) -> Array:
        """See `Evidence`."""
        return np.asarray(special.ndtr(self._scores(effect, False)))

    def ends(self, tail: Array) -> tuple[Array, Array]:
        """See `Evidence`."""
        score = special.ndtri(tail)
        low = self._root(lambda effect: self._scores(effect, True) - score)
        high = self._root(lambda effect: score - self._scores(effect, False))
        return low, high

    def range(self) -> tuple[Array, Array]:
        """See `Evidence`."""
        low, high = np.full(self.arms, np.inf), np.full(self.arms, -np.inf)
        for evidence, arm in self.parts:
            least, most = evidence.range()
            np.fmin.at(low, arm[arm >= 0], least[arm >= 0])
            np.fmax.at(high, arm[arm >= 0], most[arm >= 0])
        return low, high

    def _scores(self, effect: Array, above: bool) -> Array:
        effect = np.broadcast_to(np.asarray(effect, np.float64), (self.arms,))
        total, number = np.zeros(self.arms), np.zeros(self.arms)
        for evidence, arm in self.parts:
            p = evidence.above(effect[arm]) if above else evidence.below(effect[arm])
            known = np.isfinite(p) & (arm >= 0)
            scores = special.ndtri(np.clip(np.where(known, p, 0.5), 1e-300, 1 - SURE))
            total += np.bincount(np.maximum(arm, 0), np.where(known, scores, 0.0), self.arms)
            number += np.bincount(np.maximum(arm, 0), known, self.arms)
        return np.where(number > 0, total / np.sqrt(np.maximum(number, 1)), np.nan)

    def _root(self, rising: Callable[[Array], Array], strict: bool = True) -> Array:
        """Where a rising function comes above zero, or to zero; infinite where it does so nowhere."""
        low, high = self.range()
        known = np.isfinite(low) & np.isfinite(high)
        low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
        first, last = rising(low), rising(high)
        bottom, top = low.copy(), high.copy()
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            at = rising(middle)
            over = at > 0 if strict else at >= 0
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        found = np.where(first > 0, -np.inf, np.where(last <= 0, np.inf, (low + high) / 2))
        found = np.where(np.abs(found) <= 1e-12 * (top - bottom), 0.0, found)
        return np.where(np.isfinite(first) & np.isfinite(last), found, np.nan)
