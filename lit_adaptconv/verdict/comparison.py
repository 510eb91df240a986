"""Every arm against the primary arm: estimate, interval, corrected p, and which of four answers they support."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from lit_adaptconv.measure.budget import limits_text
from lit_adaptconv.verdict.evidence import Evidence, Permuted, Shares, Shifted, permuted, smallest_p
from lit_adaptconv.verdict.family import Claims, Judgement, Part, judge
from lit_adaptconv.verdict.images import ImageVariances, image_variances, widened
from lit_adaptconv.verdict.lognormal import Lognormal
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import p_value
from lit_adaptconv.verdict.observations import Observations
from lit_adaptconv.verdict.power import seeds_to_find
from lit_adaptconv.verdict.question import Question
from lit_adaptconv.verdict.speed import Times, compare_times
from lit_adaptconv.verdict.statistics import Array, Mask, spread
from lit_adaptconv.verdict.summaries import MEASURES, Answer, Bounds, Comparison, Measure, Method

NO_MARGIN = 0.0
"""Where nobody said what is as good as none, nothing is."""


@dataclass(frozen=True)
class _Asked:
    """What one question was answered from; arrays of arms (without the primary) × budgets.

    Attributes:
        measure: What it asks for.
        target: The target, if it asks for a time.
        exploratory: Whether the plan did not ask it.
        margin: Largest effect that is as good as none, on the scale of the estimate; None if nobody said.
        parts: The evidence; its rows are those of arms × budgets.
        smallest: Smallest p that each comparison could have.
        scores: Log-ratios or differences of the pairs of one seed, above 0 where the arm beats the primary arm.
        n: Trials of the arm and of the primary arm.
        n_cut: Of these, those without the target.
        sd: Standard deviation of an arm's trials, or of the differences of its pairs.
        images: Variance of the difference that comes from the test images; NaN where it is not known.
        images_together: The same over all budgets together, an element an arm.
    """

    measure: Measure | Metric
    target: float | None
    exploratory: bool
    margin: float | None
    parts: list[Part]
    smallest: Array
    scores: Array
    n: tuple[Array, Array]
    n_cut: Array
    sd: Array
    images: Array
    images_together: Array

    @property
    def effect_margin(self) -> float:
        """The margin on the scale of the evidence."""
        if self.margin is None:
            return NO_MARGIN
        return self.margin if isinstance(self.measure, Metric) else math.log1p(self.margin)


def compare(
    observations: Observations,
    targets: tuple[float, ...],
    metric: Metric,
    confidence: float = 0.95,
    question: Question | None = None,
    images: ImageVariances | None = None,
) -> tuple[Comparison, ...]:
    """Compare every arm with the primary arm, which is the first.

    Args:
        observations: The trials.
        targets: The targets.
        metric: What the networks are judged by.
        confidence: Level of the intervals; a claim needs a corrected p of at most 1 − confidence.
        question: What the plan asks; by default the metric in the test.
        images: Variances that come from the test images; by default they are worked out.

    Returns:
        An arm × (the metric, and measure × target), in this order: first the comparison over all budgets together,
        where there are several and the measure is the metric or steps, then one a budget.
    """
    question = question or Question()
    arms, budgets, _ = observations.rows.shape
    if arms < 2:
        return ()
    asked = [_metric(observations, metric, question, images or image_variances(observations))]
    for target in targets:
        asked += _speed(observations, target, question)
    judged: list[tuple[Claims, Claims | None, int]] = []
    alpha = 1 - confidence
    for several in ([a for a in asked if _together(a)], [a for a in asked if not _together(a)]):
        if several:
            judged += _judged(several, (arms - 1, budgets), alpha, _together(several[0]), observations.independent)
    order = [a for a in asked if _together(a)] + [a for a in asked if not _together(a)]
    by_question = {id(a): found for a, found in zip(order, judged, strict=True)}
    exists = observations.rows >= 0
    lacking = (exists.any(0) & ~observations.status("done")).sum(-1)  # trials that failed, or were never run
    found = []
    for arm in range(1, arms):
        for a in asked:
            found += list(_answers(observations, arm, a, *by_question[id(a)], lacking, alpha))
    return tuple(found)


def _together(asked: _Asked) -> bool:
    return isinstance(asked.measure, Metric) or asked.measure == "steps"


def _metric(observations: Observations, metric: Metric, question: Question, images: ImageVariances) -> _Asked:
    values = observations.final()
    arms, budgets, pairs = values.shape
    flat, others = values[1:].reshape(-1, pairs), np.tile(values[0], (arms - 1, 1))
    present, other_present = np.isfinite(flat), np.isfinite(others)
    n, m = present.sum(1), other_present.sum(1)
    smallest = np.full(len(flat), np.nan)
    parts: list[Part] = []
    for size in sorted({(int(a), int(b)) for a, b in zip(n, m, strict=True) if min(a, b) >= 2}):
        rows = np.flatnonzero((n == size[0]) & (m == size[1]))
        first, second = flat[rows][present[rows]], others[rows][other_present[rows]]
        parts.append((permuted(first.reshape(len(rows), -1), second.reshape(len(rows), -1)), rows))
        smallest[rows] = smallest_p(*size)
    shape = (arms - 1, budgets)
    differences = flat - others
    rounding = 1e-9 * np.maximum(np.abs(flat), np.abs(others))
    scores = metric.sign * np.where(np.abs(differences) <= rounding, 0.0, differences)
    sd = np.sqrt((spread(flat) ** 2 + spread(others) ** 2) / 2).reshape(shape)
    counts = (n.reshape(shape), m.reshape(shape))
    margin = question.metric_margin(metric)
    asked = question.on(metric) and question.measure != "steps"
    return _Asked(
        metric,
        None,
        not asked,
        margin,
        parts,
        smallest.reshape(shape),
        scores.reshape(*shape, pairs),
        counts,
        np.zeros(shape, int),
        sd,
        images.differences,
        images.together,
    )


def _speed(observations: Observations, target: float, question: Question) -> list[_Asked]:
    """Steps to a target; in the other measures the ratio of steps times that of what a step costs."""
    times = observations.times(target)
    arms, budgets, pairs = times.time.shape
    shape = (arms - 1, budgets)

    def flat(first: bool) -> Times:
        arrays = (times.time, times.before, times.end)
        return Times(*((x[1:].reshape(-1, pairs) if first else np.tile(x[0], (arms - 1, 1))) for x in arrays))

    mine, theirs = flat(True), flat(False)
    speed = compare_times(mine, theirs)
    n = tuple(x.known.sum(1).reshape(shape) for x in (mine, theirs))
    n_cut = sum((x.known & ~x.reached).sum(1) for x in (mine, theirs)).reshape(shape)
    sd, smallest = spread(speed.differences).reshape(shape), speed.smallest.reshape(shape)
    found = []
    for measure in MEASURES:
        costs = observations.step_costs(measure)
        ratio = _median(costs[1:] - costs[:1]) if measure != "steps" else np.zeros(shape)
        fallback = _median(costs[1:]) - _median(costs[:1])
        ratio = np.where(np.isfinite(ratio), ratio, fallback)
        parts: list[Part] = []
        for evidence, rows in speed.parts:
            by = ratio.ravel()[rows]
            parts.append((evidence if measure == "steps" else Shifted(evidence, by), rows))
        known = np.where(np.isfinite(ratio), smallest, np.nan)
        scores = -(speed.differences.reshape(*shape, pairs) + ratio[..., None])
        exploratory = not (measure == question.measure and target == question.target)
        counts = (n[0], n[1])
        found.append(
            _Asked(
                measure,
                target,
                exploratory,
                question.steps_margin,
                parts,
                known,
                scores,
                counts,
                np.asarray(n_cut),
                sd,
                np.full(shape, np.nan),
                np.full(shape[:1], np.nan),
            )
        )
    return found


def _median(values: Array) -> Array:
    """Median over the last axis; NaN where there is no value."""
    known = np.isfinite(values)
    ordered = np.sort(np.where(known, values, np.inf), -1)
    n = known.sum(-1)
    ends = [np.take_along_axis(ordered, np.maximum(i, 0)[..., None], -1)[..., 0] for i in ((n - 1) // 2, n // 2)]
    with np.errstate(invalid="ignore"):
        return np.where(n > 0, (ends[0] + ends[1]) / 2, np.nan)


def _judged(
    asked: list[_Asked], shape: tuple[int, int], alpha: float, together: bool, independent: Mask
) -> list[tuple[Claims, Claims | None, int]]:
    """Judge several questions at once, each as a family of its own."""
    size = shape[0] * shape[1]
    parts = [(evidence, rows + q * size) for q, a in enumerate(asked) for evidence, rows in a.parts]
    smallest = np.stack([a.smallest for a in asked])
    margins = np.array([a.effect_margin for a in asked])
    found: Judgement = judge(parts, (len(asked), *shape), smallest, alpha, margins, together, independent)

    def of(claims: Claims, q: int) -> Claims:
        return Claims(*(getattr(claims, name)[q] for name in Claims.__dataclass_fields__))

    return [
        (of(found.budgets, q), of(found.together, q) if together else None, int(found.family[q]))
        for q in range(len(asked))
    ]


def _answers(
    observations: Observations,
    arm: int,
    asked: _Asked,
    claims: Claims,
    together: Claims | None,
    family: int,
    lacking: npt.NDArray[np.intp],
    alpha: float,
) -> Iterator[Comparison]:
    a = arm - 1
    tried = [(observations.rows[x] >= 0).any(-1) for x in (0, arm)]
    methods = _methods(asked, claims.p.shape)
    known = np.isfinite(claims.p[a])
    each = []
    for b in range(len(observations.budgets)):
        if tried[0][b] or tried[1][b]:
            here = np.arange(len(observations.budgets)) == b
            lack = (int(lacking[arm, b]), int(lacking[0, b]))
            made = _comparison(
                observations, arm, asked, claims, (a, b), here, methods[a][b], family, lack, alpha, max(family, 1)
            )
            for there, name in zip(tried, (made.primary, made.arm), strict=True):
                if not there[b]:
                    made = replace(made, reason=f"there is no trial of {name} at this budget")
            each.append(made)
    known &= observations.independent[a]
    if together is not None and known.sum() > 1:
        lack = (int(lacking[arm][known].sum()), int(lacking[0][known].sum()))
        over = _comparison(
            observations, arm, asked, together, (a,), known, "budgets", family, lack, alpha, len(together.p)
        )
        differs = [
            f"{c.answer} at {limits_text(c.budget)}" for c in each if c.answer in ("better", "worse") and c.budget
        ]
        if over.answer == "equivalent" and differs:
            over = replace(over, answer="undecided", reason=f"the budgets differ: {', '.join(differs)}")
        yield over
    yield from each


def _methods(asked: _Asked, shape: tuple[int, ...]) -> list[list[Method]]:
    found: list[Method] = ["none"] * int(np.prod(shape))
    for evidence, rows in asked.parts:
        of: Evidence = evidence.of if isinstance(evidence, Shifted) else evidence
        kinds: tuple[tuple[type[Evidence], Method], ...] = (
            (Permuted, "permutation"),
            (Lognormal, "model"),
            (Shares, "shares"),
        )
        method: Method = next((name for kind, name in kinds if isinstance(of, kind)), "pairs")
        for row in rows:
            found[row] = method
    return [found[start : start + shape[1]] for start in range(0, len(found), shape[1])]


def _comparison(
    observations: Observations,
    arm: int,
    asked: _Asked,
    claims: Claims,
    at: tuple[int, ...],
    here: Mask,
    method: Method,
    family: int,
    lack: tuple[int, int],
    alpha: float,
    number: int,
) -> Comparison:
    """One comparison, from row `at` of the claims, about the budgets `here`."""
    scores = asked.scores[arm - 1][here]
    scores = scores[np.isfinite(scores)]
    measure = asked.measure
    estimate, low, high = (float(x[at]) for x in (claims.estimate, claims.low, claims.high))
    p, adjusted, equivalence = (_known(float(x[at])) for x in (claims.p, claims.adjusted, claims.equivalence))
    bounds = None
    if p is not None and (math.isfinite(low) or math.isfinite(high)):
        bounds = Bounds(_scaled(measure, low), _scaled(measure, high))
    single = int(here.sum()) == 1
    variance = float(asked.images[at] if single else asked.images_together[at])
    reach = -special.ndtri(float(claims.tail[at])) * math.sqrt(variance) if variance > 0 else variance
    wide = None
    if bounds is not None and math.isfinite(reach):
        ends = widened(*map(np.asarray, (estimate, low, high, reach, reach)))
        wide = Bounds(*(_scaled(measure, float(end)) for end in ends))
    n, m = (int(x[arm - 1][here].sum()) if single else _common(x[arm - 1][here]) for x in asked.n)
    made = Comparison(
        arm=observations.arms[arm],
        primary=observations.arms[0],
        budget=observations.budgets[int(here.argmax())] if single else None,
        over=int(here.sum()),
        measure=measure,
        target=asked.target,
        exploratory=asked.exploratory,
        method=method if p is not None else "none",
        step_cost=_step_cost(observations, measure),
        n=n,
        n_primary=m,
        n_cut=int(asked.n_cut[arm - 1][here].sum()),
        estimate=_scaled(measure, estimate),
        bounds=bounds,
        bounds_images=wide,
        p=p,
        p_adjusted=adjusted,
        p_equivalent=None if asked.margin is None else equivalence,
        family=number,
        margin=asked.margin,
        wins=int((scores > 0).sum()),
        ties=int((scores == 0).sum()),
        n_pairs=len(scores),
        answer="undecided",
        reason="",
        seeds=None,
    )
    smallest = (
        float(np.nanmin(asked.smallest[arm - 1][here])) if np.isfinite(asked.smallest[arm - 1][here]).any() else 1.0
    )
    answer, reason = _answer(made, smallest if single else 0.0, scores, lack, alpha, bool(claims.above[at]))
    seeds = None
    if answer == "undecided" and single and p is not None and asked.margin is not None:
        sd = float(asked.sd[arm - 1][here][0])
        paired = not isinstance(measure, Metric)
        known = sd > 0 and (not paired or method == "pairs")
        seeds = seeds_to_find(asked.effect_margin, sd, alpha / number, paired) if known else None
    return replace(made, answer=answer, reason=reason, seeds=seeds)


def _answer(
    c: Comparison, smallest: float, scores: Array, lack: tuple[int, int], alpha: float, more: bool
) -> tuple[Answer, str]:
    """What the comparison supports, and the first reason why nothing is claimed."""
    alpha += 1e-9  # 1 − 0.95 is just below 0.05
    speed = c.target is not None
    if c.p is None or c.p_adjusted is None:
        if speed and c.n and c.n_primary and c.n_cut == c.n + c.n_primary:
            return "undecided", "no trial of either arm reaches the target"
        if speed and c.n_pairs and c.ties == c.n_pairs:
            return "undecided", f"{_pairs(c.n_pairs)}, all tied; evaluate more often"
        if speed and c.n_pairs > 1 and spread(scores[None])[0] == 0:
            return (
                "undecided",
                f"{_pairs(c.n_pairs)}, all with the same ratio, so its spread is unknown; evaluate more often",
            )
        return "undecided", f"too few trials of {c.arm} and {c.primary} to compare"
    if c.p_adjusted <= alpha:
        wins = more == (isinstance(c.measure, Metric) and c.measure.mode == "max")
        winner, unfinished = (c.arm, lack[0]) if wins else (c.primary, lack[1])
        if unfinished:
            return "undecided", f"{winner} is ahead, but {unfinished} of its trials did not finish or never ran"
        return ("better" if wins else "worse"), ""
    if c.p_equivalent is not None and c.p_equivalent <= alpha and not sum(lack):
        return "equivalent", ""
    if smallest * c.family > alpha:
        within = f" over {c.family} comparisons" if c.family > 1 else ""
        return "undecided", f"with {c.n_text} seeds p cannot be below {p_value(min(1.0, smallest * c.family))}{within}"
    return "undecided", f"p = {p_value(c.p_adjusted)} is above {alpha:.2g}"


def _step_cost(observations: Observations, measure: Measure | Metric) -> Literal["by turns", "trials' own"] | None:
    if measure != "seconds":
        return None
    return "by turns" if observations.timed_by_turns else "trials' own"


def _pairs(n: int) -> str:
    return f"{n} pair{'s' if n != 1 else ''}"


def _common(counts: Array) -> int:
    """Trials over several budgets: the number at each, or the sum where it differs."""
    return int(counts.max())


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scaled(measure: Measure | Metric, effect: float) -> float | None:
    if not math.isfinite(effect):
        return None
    return effect if isinstance(measure, Metric) else math.exp(min(effect, 700.0))
