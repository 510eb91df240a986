"""One question asked of every arm at every budget: claims of which any is wrong 5 times of 100 at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lit_adaptconv.verdict.evidence import Evidence, Together
from lit_adaptconv.verdict.statistics import Array, Mask

TOGETHER = 0.9
"""Share of the error for the claims over all budgets together; the rest is for budgets that contradict each other."""

ROUNDING = 1e-9
"""Effects and p values that differ by less are the same."""

Part = tuple[Evidence, npt.NDArray[np.intp]]
"""Evidence, and the comparison that each of its rows is about: a flat index of questions × arms × budgets."""


@dataclass(frozen=True)
class Claims:
    """What the evidence says of several effects, corrected for their family; arrays of one shape.

    Attributes:
        estimate: The effects; infinite where there is only a bound, NaN where nothing is known.
        low: Lower ends of their intervals, -inf where there is none.
        high: Upper ends.
        p: Two-sided p of no effect.
        adjusted: The same after correction: at most α exactly where the interval excludes no effect.
        equivalence: Corrected p of an effect beyond the margin, by two one-sided tests.
        above: Whether the evidence is for an effect above none.
        tail: Error at each end of the intervals.
    """

    estimate: Array
    low: Array
    high: Array
    p: Array
    adjusted: Array
    equivalence: Array
    above: Mask
    tail: Array


@dataclass(frozen=True)
class Judgement:
    """The claims of several questions.

    Attributes:
        budgets: At each budget, shape `(questions, arms, budgets)`.
        together: Over all budgets of an arm, shape `(questions, arms)`.
        family: Comparisons that were corrected for, of each question.
    """

    budgets: Claims
    together: Claims
    family: npt.NDArray[np.intp]


def judge(
    parts: Sequence[Part],
    shape: tuple[int, int, int],
    smallest: Array,
    alpha: float,
    margin: Array,
    joint_claims: bool = True,
    independent: Mask | None = None,
) -> Judgement:
    """Judge several questions, each a family of its own.

    First comes each arm over all its budgets. Its p is multiplied by the number of arms. The budgets' are corrected by
    Holm's method over arms and budgets, and count where the arm's is small enough. A tenth of the error is kept for
    budgets of an arm that is better at some and worse at others, so that nothing is shown of all together.
    Comparisons whose smallest p is too large to matter are not corrected for (Tarone).

    Args:
        parts: The evidence.
        shape: Numbers of questions, arms and budgets.
        smallest: Smallest p that each comparison could have; NaN where there is none. Of that shape.
        alpha: The error, such as 0.05.
        margin: Largest effect that is as good as none, of each question.
        joint_claims: Whether arms are judged over all budgets together.
        independent: Which budgets of each arm count there, shape `(arms, budgets)`; by default all.

    Returns:
        An interval is taken at the level at which its p is compared, so that the two never contradict each other.
        Holm, Scandinavian Journal of Statistics 6 (1979); Tarone, "A modified Bonferroni method for discrete data",
        Biometrics 46 (1990); Meinshausen, "Hierarchical testing of variable importance", Biometrika 95 (2008).
    """
    questions, arms, budgets = shape
    rows = questions * arms * budgets
    margins = np.broadcast_to(np.asarray(margin)[:, None, None], shape)
    p, equal, more = (x.reshape(shape) for x in _scattered(parts, rows, margins))
    asked = np.isfinite(p)
    counted = asked if independent is None else asked & independent
    several = (counted.sum(2) > 1) & joint_claims
    about = [(evidence, np.where(counted.ravel()[row], row // budgets, -1)) for evidence, row in parts]
    together = Together(tuple(about), questions * arms)
    joint, joint_equal, joint_more = np.full((3, questions, arms), np.nan)
    if several.any():
        sides = [side(np.zeros(questions * arms)).reshape(several.shape) for side in (together.above, together.below)]
        joint = np.where(several, np.minimum(1.0, 2 * np.minimum(*sides)), np.nan)
        joint_more = np.where(several, sides[0] < sides[1], np.nan)
        beyond = margins[..., 0].ravel()
        equal_together = np.maximum(together.above(-beyond), together.below(beyond)).reshape(several.shape)
        joint_equal = np.where(several, equal_together, np.nan)
    factor, joint_factor = np.ones(shape), np.ones(shape[:2])
    family = np.zeros(questions, np.intp)
    for q in range(questions):
        if not asked[q].any():
            continue
        testable = asked[q] & (_tarone(np.where(asked[q], smallest[q], np.inf), alpha))
        family[q] = testable.sum()
        factor[q] = _holm_factors(p[q], testable)
        if several[q].any():
            joint_factor[q] = asked[q].any(1).sum() / TOGETHER
            closed = several[q] & ~(joint[q] * joint_factor[q] <= alpha + 1e-12)
            closed |= ~several[q] & ~(p[q].min(1, initial=1, where=counted[q]) * joint_factor[q] <= alpha + 1e-12)
            factor[q] = np.where(closed[:, None], factor[q] / (1 - TOGETHER), factor[q])
    tails = np.minimum(alpha / factor / 2, 0.5)
    estimate, low, high = (np.full(rows, np.nan) for _ in range(3))
    for evidence, row in parts:
        estimate[row] = evidence.estimate
        low[row], high[row] = evidence.ends(tails.ravel()[row])
    each = _claims((estimate, low, high), p, factor, equal * np.maximum(family, 1)[:, None, None], more, alpha, tails)
    tails = alpha / joint_factor / 2
    if several.any():
        ends = (together.estimate, *together.ends(tails.ravel()))
    else:
        ends = (np.full(questions * arms, np.nan),) * 3
    over_all = _claims(ends, joint, joint_factor, joint_equal * joint_factor, joint_more, alpha, tails)
    return Judgement(each, over_all, family)


def _claims(
    ends: tuple[Array, Array, Array],
    p: Array,
    factor: Array,
    equivalence: Array,
    more: Array,
    alpha: float,
    tails: Array,
) -> Claims:
    """Claims whose intervals agree with their p where an end is no effect but for rounding."""
    estimate, low, high = (np.where(np.isfinite(p), x.reshape(p.shape), np.nan) for x in ends)
    adjusted, above = np.minimum(1.0, p * factor), more == 1
    shown = adjusted <= alpha + ROUNDING
    low = np.where(shown & above, np.maximum(low, ROUNDING), np.where(shown, low, np.minimum(low, 0.0)))
    high = np.where(shown & ~above, np.minimum(high, -ROUNDING), np.where(shown, high, np.maximum(high, 0.0)))
    return Claims(estimate, low, high, p, adjusted, np.minimum(1.0, equivalence), above, tails)


def _scattered(parts: Sequence[Part], rows: int, margins: Array) -> tuple[Array, Array, Array]:
    """Two-sided p of no effect, the larger p of the two one-sided tests of the margins, and the side of the effect."""
    p, equal, more = np.full((3, rows), np.nan)
    for evidence, row in parts:
        margin = margins.ravel()[row]
        zero = np.zeros(len(row))
        above, below = evidence.above(zero), evidence.below(zero)
        p[row], more[row] = (
            np.minimum(1.0, 2 * np.minimum(above, below)),
            np.where(np.isnan(above), np.nan, above < below),
        )
        equal[row] = np.maximum(evidence.above(-margin), evidence.below(margin))
    return p, equal, more


def _tarone(smallest: Array, alpha: float) -> Mask:
    """The comparisons whose smallest p is at most α divided by their number."""
    ordered = np.sort(smallest.ravel())
    for k in range(1, len(ordered) + 1):
        if (ordered <= (alpha + 1e-12) / k).sum() <= k:
            return np.asarray(smallest <= (alpha + 1e-12) / k)
    return np.isfinite(smallest)


def _holm_factors(p: Array, testable: Mask) -> Array:
    """What Holm's method multiplies each p by; infinite where a comparison is not in the family."""
    factors = np.full(p.shape, np.inf)
    values = p[testable]
    order = np.argsort(values, kind="stable")
    adjusted = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    found = np.empty(len(values))
    found[order] = adjusted / values[order]
    factors[testable] = found
    return factors
