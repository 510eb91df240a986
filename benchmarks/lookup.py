"""Finds what the verdict on a finished sweep says of an arm at a budget."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from lit_adaptconv.report.content import SweepContent, read_content
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.summaries import Comparison, Measure, MetricSummary, SpeedSummary
from lit_adaptconv.verdict.verdict import Verdict, summarise


class Lookup:
    """A sweep's summaries, by arm and budget as a document writes them.

    Args:
        folder: Holds `sweep.json`, `results.parquet` and `curves.parquet`.
    """

    def __init__(self, folder: Path) -> None:
        self._content: SweepContent = read_content(folder)
        self._verdicts: dict[str, Verdict] = {}

    @property
    def _metric(self) -> Metric:
        return self._content.metric

    def _goal(self, target: str) -> str:
        return self._metric.goal(float(target))

    @cached_property
    def _trained(self) -> set[tuple[str, str]]:
        return {(a.at.arm, str(a.at.budget)) for a in self._verdict().finished if a.n}

    @cached_property
    def _budgets(self) -> list[str]:
        return [str(budget) for budget in self._content.budgets]

    @cached_property
    def _arms(self) -> list[str]:
        return list(self._content.arms)

    def _arms_at(self, budget: str) -> list[str]:
        return [arm for arm in self._arms if (arm, budget) in self._trained]

    def _verdict(self, against: str = "") -> Verdict:
        primary = against or self._content.sweep.primary_arm
        if primary not in self._verdicts:
            content = self._content
            self._verdicts[primary] = summarise(
                content.results,
                content.sweep.targets,
                primary,
                self._metric,
                curves=content.curves,
                question=content.sweep.question,
            )
        return self._verdicts[primary]

    def _accuracy(self, arm: str, budget: str) -> MetricSummary:
        return next(a for a in self._verdict().finished if (a.at.arm, str(a.at.budget)) == (arm, budget))

    def _convergence(self, arm: str, budget: str, target: str, measure: Measure) -> SpeedSummary:
        wanted = (arm, budget, float(target), measure)
        found = self._verdict().convergence
        return next(c for c in found if (c.at.arm, str(c.at.budget), c.target, c.measure) == wanted)

    def _comparison(
        self, arm: str, budget: str, measure: Measure | Metric, target: float | None, against: str = ""
    ) -> Comparison:
        wanted = (arm, budget, measure, target)
        found = self._verdict(against).comparisons
        return next(c for c in found if (c.arm, str(c.budget), c.measure, c.target) == wanted and c.over == 1)

    def _tested(self, arm: str, budget: str) -> np.ndarray:
        """By pair; NaN where there is none.

        Raises:
            KeyError: There is none at all.
        """
        rows = self._content.results.select(["arm", "budget", "pair", "status", "test_metric"]).to_pylist()
        values = np.full(1 + max(row["pair"] for row in rows), np.nan)
        for row in rows:
            if (row["arm"], str(row["budget"]), row["status"]) == (arm, budget, "done"):
                values[row["pair"]] = row["test_metric"]
        if not np.isfinite(values).any():
            raise KeyError(f"{arm} has no finished trial at {budget}")
        return values
