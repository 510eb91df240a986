"""Every arm against the primary arm: estimate, interval, corrected p, and whether that is enough for a claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.observations import Observations
from lit_adaptconv.verdict.statistics import (
    Array,
    Mask,
    holm,
    log_ratios,
    mean_interval,
    sign_flip_test,
    smallest_p,
    spread,
)
from lit_adaptconv.verdict.summaries import MEASURES, Claim, Comparison, Interval, Measure


@dataclass(frozen=True)
class _Tested:
    """Paired differences of one arm and measure at all budgets, and what was computed from them; a row a budget."""

    differences: Array
    n_cut: Array
    low: Array
    high: Array
    p: Array


def compare(
    observations: Observations, targets: tuple[float, ...], metric: Metric, confidence: float = 0.95
) -> tuple[Comparison, ...]:
    """Compare every arm with the primary arm, which is the first.

    Args:
        observations: The trials.
        targets: The targets.
        metric: What the networks are judged by.
        confidence: Level of the intervals; a claim needs a corrected p of at most 1 − confidence.

    Returns:
        One comparison an arm × budget × (the metric, and measure × target), in this order.
    """
    done = observations.status("done")
    lacking = ((observations.rows >= 0).any(0) & ~done).sum(-1)  # trials that failed, or were never run, by arm, budget
    questions: list[tuple[Measure | Metric, float | None]] = [(metric, None)]
    questions += [(measure, target) for target in targets for measure in MEASURES]
    tested = _test([_pairs(observations, measure, target) for measure, target in questions], confidence)
    found = []
    for a in range(1, len(observations.arms)):
        columns = [
            list(_judge(observations, a, measure, target, by_arm[a - 1], lacking, confidence))
            for (measure, target), by_arm in zip(questions, tested, strict=True)
        ]
        found += [comparison for budget in zip(*columns, strict=True) for comparison in budget]
    return tuple(found)


def _pairs(observations: Observations, measure: Measure | Metric, target: float | None) -> tuple[Array, Mask]:
    """Paired differences of every arm but the primary, and which are censored, shape `(arms - 1, budgets, pairs)`."""
    if isinstance(measure, Metric) or target is None:
        values = observations.final()
        differences = values[1:] - values[:1]
        rounding = 1e-9 * np.maximum(np.abs(values[1:]), np.abs(values[:1]))
        differences = np.where(np.abs(differences) <= rounding, 0.0, differences)
        return differences, np.zeros(differences.shape, np.bool_)
    times, ends = observations.follow_up(target, measure)
    return log_ratios(times[1:], ends[1:], times[:1], ends[:1])


def _test(questions: list[tuple[Array, Mask]], confidence: float) -> list[list[_Tested]]:
    """Test everything at once, as all samples of one size share their resamples; by question, then arm."""
    differences = np.stack([d for d, _ in questions])
    flat = differences.reshape(-1, differences.shape[-1])
    low, high = mean_interval(flat, confidence)
    low, high, p = (x.reshape(differences.shape[:-1]) for x in (low, high, sign_flip_test(flat)))
    return [
        [
            _Tested(d, c.sum(-1), *ends)
            for d, c, *ends in zip(differences[q], censored, low[q], high[q], p[q], strict=True)
        ]
        for q, (_, censored) in enumerate(questions)
    ]


def _judge(
    observations: Observations,
    arm: int,
    measure: Measure | Metric,
    target: float | None,
    tested: _Tested,
    lacking: Array,
    confidence: float,
) -> Iterator[Comparison]:
    tried = [(observations.rows[a] >= 0).any(-1) for a in (0, arm)]
    budgets = [b for b in range(len(observations.budgets)) if tried[0][b] or tried[1][b]]
    family = [b for b in budgets if np.isfinite(tested.p[b])]
    adjusted = dict(zip(family, holm([float(tested.p[b]) for b in family]), strict=True))
    for b in budgets:
        d = tested.differences[b][np.isfinite(tested.differences[b])]
        scores = measure.sign * d if isinstance(measure, Metric) else -d  # above zero: the arm beats the primary arm
        result = Comparison(
            arm=observations.arms[arm],
            primary=observations.arms[0],
            budget=observations.budgets[b],
            measure=measure,
            target=target,
            n_pairs=len(d),
            n_cut=int(tested.n_cut[b]),
            estimate=_scale(measure, float(d.mean())) if len(d) else None,
            interval=Interval(_scale(measure, float(tested.low[b])), _scale(measure, float(tested.high[b])))
            if np.isfinite(tested.low[b])
            else None,
            p=float(tested.p[b]) if b in adjusted else None,
            p_holm=adjusted.get(b),
            wins=int((scores > 0).sum()),
            ties=int((scores == 0).sum()),
            claim="no claim",
            reason="",
        )
        claim, reason = _claim(result, scores, len(family), int(lacking[arm, b]), int(lacking[0, b]), 1 - confidence)
        for name, there in zip((result.primary, result.arm), tried, strict=True):
            if not there[b]:
                reason = f"there is no trial of {name} at this budget"
        yield replace(result, claim=claim, reason=reason)


def _claim(
    c: Comparison, scores: Array, family: int, lacking: int, primary_lacking: int, alpha: float
) -> tuple[Claim, str]:
    """What the comparison supports; the first objection that applies is the reason for no claim."""
    alpha += 1e-9  # 1 − 0.95 is just below 0.05
    n, different = c.n_pairs, c.n_pairs - c.ties
    pairs = f"{n} pair{'s' if n != 1 else ''}"
    if n == 0 or c.p is None or c.p_holm is None:
        return "no claim", f"no pair of trials of {c.arm} and {c.primary} to compare"
    if c.undecided:
        return "no claim", f"in none of {pairs} is it known which arm reaches the target first"
    if different == 0:
        return "no claim", f"{pairs}, all tied"
    if smallest_p(n) > alpha:
        return "no claim", f"with {pairs} p cannot be below {smallest_p(n):g}; run more seeds"
    if smallest_p(different) > alpha:
        return "no claim", f"of {pairs} {c.ties} are tied, which leaves too few; run more seeds or evaluate more often"
    if spread(scores[None])[0] == 0:
        return "no claim", f"{pairs}, all with the same difference, so there is no interval; evaluate more often"
    if c.p_holm > alpha and c.p <= smallest_p(n) * (1 + 1e-9):
        return "no claim", (
            f"{pairs} that all agree, but corrected over {family} budgets p is {c.p_holm:.2g}; run more seeds"
        )
    if c.p_holm > alpha:
        return "no claim", f"p = {c.p_holm:.2g} is above {alpha:.2g}"
    null = 0.0 if c.target is None else 1.0
    if c.interval is None or c.interval.low <= null <= c.interval.high:
        return "no claim", f"p is small enough, but the interval includes {null:g}"
    better = bool(scores.mean() > 0)
    winner, unfinished = (c.arm, lacking) if better else (c.primary, primary_lacking)
    if unfinished:
        return "no claim", f"{winner} is ahead, but {unfinished} of its trials did not finish or never ran"
    return ("better" if better else "worse"), ""


def _scale(measure: Measure | Metric, mean: float) -> float:
    return mean if isinstance(measure, Metric) else float(np.exp(mean))
