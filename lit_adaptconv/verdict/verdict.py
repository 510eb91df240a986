"""From the results of a sweep to its verdict: what each arm did, what can be claimed, in tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict import tables
from lit_adaptconv.verdict.budget_share import repeated_note, unused_note
from lit_adaptconv.verdict.comparison import compare
from lit_adaptconv.verdict.images import ImageVariances, image_variances, reaches, widened
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.observations import Observations, observe
from lit_adaptconv.verdict.question import Question
from lit_adaptconv.verdict.sentences import sentences
from lit_adaptconv.verdict.smallest import smallest_budgets
from lit_adaptconv.verdict.statistics import kaplan_meier_median, spread, student_interval
from lit_adaptconv.verdict.summaries import (
    MEASURES,
    Cell,
    Comparison,
    Interval,
    MetricSummary,
    SmallestBudget,
    SpeedSummary,
    SummaryTable,
)


@dataclass(frozen=True)
class Verdict:
    """What a sweep shows.

    Attributes:
        metric: What the networks are judged by.
        primary_arm: The arm that the others are compared with.
        targets: The targets, the easiest first.
        main_target: The target that the sentences and the first table speak of.
        confidence: Level of the intervals.
        convergence: One an arm × budget × target × measure.
        finished: One an arm × budget.
        comparisons: One an arm other than the primary × (the metric, and target × measure) × budget, and before those
            of the metric and steps the one over all budgets together.
        smallest_budgets: One an arm × target.
        question: What the plan asks; all other comparisons are exploratory.
        notes: What else there is to know, a sentence each: networks much below their budget, FLOPs that are left out.
    """

    metric: Metric
    primary_arm: str
    targets: tuple[float, ...]
    main_target: float
    confidence: float
    convergence: tuple[SpeedSummary, ...]
    finished: tuple[MetricSummary, ...]
    comparisons: tuple[Comparison, ...]
    smallest_budgets: tuple[SmallestBudget, ...]
    question: Question
    notes: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """One an arm other than the primary over all budgets, one a budget, then one an arm on its smallest network.

        With one size of networks there is none on the smallest.
        """
        return self.sentences_on(self.main_target)

    def sentences_on(self, target: float) -> tuple[str, ...]:
        """The same, on any of the targets."""
        return sentences(
            self.comparisons,
            self.smallest_budgets,
            self.finished,
            self.primary_arm,
            target,
            self.confidence,
            self.metric,
        )

    def short_tables(self) -> list[SummaryTable]:
        """What a screen has room for: the metric in the test, then the answers, one row an arm where that can be."""
        return [
            tables.size_table(self.finished, self.confidence, self.metric),
            *tables.answer_tables(self.comparisons, self.main_target, self.confidence, self.metric),
        ]

    def summary(self) -> SummaryTable:
        """What a page begins with: cost, the metric in the test and the answers of every network."""
        return tables.summary_table(self.finished, self.comparisons, self.main_target, self.metric)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why nothing is known of an arm on what the plan asks, a sentence each."""
        asked = [c for c in self.comparisons if not c.exploratory and c.p is None and c.answer == "undecided"]
        said = dict.fromkeys(f"{c.arm}: undecided, {c.reason}." for c in asked)
        if not self.comparisons:
            said = dict.fromkeys(self.sentences)
        return tuple(said)

    def tables(self) -> list[SummaryTable]:
        """All of it as text; the first is the verdict."""
        return [
            tables.verdict_table(self.comparisons, self.main_target, self.confidence, self.metric),
            tables.metric_table(self.finished, self.confidence, self.metric),
            tables.convergence_table(self.convergence, self.confidence, self.metric),
            tables.comparison_table(self.comparisons, self.confidence, self.metric),
            tables.smallest_budget_table(self.smallest_budgets, self.metric, self.confidence),
        ]


def summarise(
    results: pa.Table,
    targets: Sequence[float],
    primary_arm: str,
    metric: Metric = ACCURACY,
    confidence: float = 0.95,
    main_target: float | None = None,
    *,
    curves: pa.Table | None = None,
    question: Question | None = None,
) -> Verdict:
    """Summarise the finished trials of a sweep; degenerate results are "undecided" and say why.

    Args:
        results: One row per trial, with the columns of `results.parquet`.
        targets: Values of the metric in validation whose times to reach were recorded.
        primary_arm: The arm to compare the others with.
        metric: What the networks are judged by.
        confidence: Level of the intervals, between 0.5 and 1; a claim needs p ≤ 1 − confidence.
        main_target: The target that the sentences speak of. By default the hardest that at least half of all trials
            reached, arms and budgets together, so that the choice favours no arm; the easiest where there is none.
        curves: One row per evaluation, with the columns of `curves.parquet`; without them a target counts as reached
            when it is first reached.
        question: What the plan asks; by default the metric in the test.

    Raises:
        UserError: A column or the primary arm is missing, a row is there twice, the table holds several sweeps, there
            is no target, `main_target` is none of them, or `confidence` is out of range.
    """
    ordered = tuple(sorted({float(t) for t in targets}, key=lambda target: metric.sign * target))
    if not ordered:
        raise UserError(f"no targets: give at least one {metric.name}{', such as 0.98' if metric.percent else ''}")
    if not 0.5 <= confidence < 1:
        raise UserError(f"confidence must be at least 0.5 and below 1, such as 0.95; got {confidence:g}")
    if main_target is not None and main_target not in ordered:
        raise UserError(f"main_target {main_target:g} is none of the targets {', '.join(f'{t:g}' for t in ordered)}")
    question = question or Question()
    question.check(metric, ordered)
    if main_target is None:
        main_target = question.target
    observations = observe(results, ordered, primary_arm, curves, metric)
    cells = observations.cells()
    images = image_variances(observations)
    finished = _finished(observations, cells, confidence, images)
    main = common_target(observations, ordered) if main_target is None else float(main_target)
    return Verdict(
        metric=metric,
        primary_arm=primary_arm,
        targets=ordered,
        main_target=main,
        confidence=confidence,
        convergence=_convergence(observations, cells, ordered, confidence),
        finished=finished,
        comparisons=compare(observations, ordered, metric, confidence, question, images),
        smallest_budgets=smallest_budgets(observations, finished, ordered, metric, confidence),
        question=question,
        notes=_notes(results, cells),
    )


def _notes(results: pa.Table, cells: Sequence[Sequence[Cell | None]]) -> tuple[str, ...]:
    found = [cell for row in cells for cell in row if cell is not None]
    notes = [unused_note((cell.arm, cell.budget, cell.sizes) for cell in found)]
    notes.append(repeated_note((cell.arm, cell.budget, cell.network) for cell in found))
    if "training_flops_per_sample" in results.column_names:
        known = np.array([v is not None for v in results["training_flops_per_sample"].to_pylist()])
        steps = np.array([bool(v) for v in results["steps"].to_pylist()])
        if known.any() and (left_out := int((steps & ~known).sum())):
            notes.append(
                f"FLOPs of {left_out:,} trials are left out: they are not known, or an earlier version counted them "
                "otherwise."
            )
    return tuple(note for note in notes if note)


def verdict_of(
    results: pa.Table,
    targets: Sequence[float],
    primary_arm: str,
    metric: Metric = ACCURACY,
    *,
    curves: pa.Table | None = None,
    question: Question | None = None,
) -> Verdict | None:
    """What the trials so far show, see `summarise`; None while the arm to compare with has no trial.

    Examples:
        >>> from lit_adaptconv.sweep.store import read_results
        >>> results = read_results(Path("docs/results/digits"))  # in a clone of the repository
        >>> verdict = verdict_of(results, [0.8], "standard")
        >>> verdict.main_target
        0.8
    """
    if primary_arm not in results["arm"].to_pylist():
        return None
    return summarise(results, targets, primary_arm, metric, curves=curves, question=question)


def common_target(observations: Observations, targets: tuple[float, ...]) -> float:
    """The hardest target that at least half of all trials reached; the easiest where there is none."""
    trials = int((observations.rows >= 0).sum())
    common = [t for t in targets if 2 * int(observations.reached(t).sum()) >= trials]
    return common[-1] if common else targets[0]


def _finished(
    observations: Observations, cells: list[list[Cell | None]], confidence: float, images: ImageVariances
) -> tuple[MetricSummary, ...]:
    values = observations.final().reshape(-1, observations.rows.shape[-1])
    n = np.isfinite(values).sum(1)
    mean = np.where(np.isfinite(values), values, 0.0).sum(1) / np.maximum(n, 1)
    low, high = student_interval(values, confidence)
    sd = spread(values)
    down, up = reaches(mean, images.means.ravel(), images.freedoms.ravel(), (1 - confidence) / 2)
    wide = widened(mean, low, high, down, up)
    return tuple(
        MetricSummary(
            at,
            int(n[i]),
            float(mean[i]) if n[i] else None,
            float(sd[i]) if n[i] > 1 else None,
            Interval(float(low[i]), float(high[i])) if np.isfinite(low[i]) else None,
            Interval(float(wide[0][i]), float(wide[1][i])) if np.isfinite(wide[0][i]) else None,
        )
        for i, at in enumerate(at for row in cells for at in row)
        if at is not None
    )


def _convergence(
    observations: Observations, cells: list[list[Cell | None]], targets: tuple[float, ...], confidence: float
) -> tuple[SpeedSummary, ...]:
    found: dict[tuple[int, int], list[SpeedSummary]] = {
        (a, b): [] for a, row in enumerate(cells) for b, at in enumerate(row) if at is not None
    }
    for target in targets:
        reached, once = observations.reached(target), observations.reached_once(target)
        for measure in MEASURES:
            observed = observations.observed(target, measure)
            shape = observed.shape
            flat, event = observed.reshape(-1, shape[-1]), reached.reshape(-1, shape[-1])
            median, low, high = (x.reshape(shape[:2]) for x in kaplan_meier_median(flat, event, confidence))
            for (a, b), summaries in found.items():
                at = cells[a][b]
                assert at is not None
                interval = (_finite(low[a, b]), _finite(high[a, b]))
                counts = (int(reached[a, b].sum()), int(once[a, b].sum()))
                summaries.append(SpeedSummary(at, target, measure, *counts, _finite(median[a, b]), interval))
    return tuple(summary for summaries in found.values() for summary in summaries)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
