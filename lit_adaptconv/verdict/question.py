"""What a plan asks before the run: the question whose answers are claims; all else is exploratory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.metric import Metric

POINTS_MARGIN = 0.002
"""Difference of a share that is as good as none, unless the plan says otherwise: 0.2 points."""
RATIO_MARGIN = 0.1
"""The same of steps: 10 %."""


@dataclass(frozen=True)
class Question:
    """The question that a sweep is to answer.

    Args:
        measure: "steps", for steps to the target; or the name of the metric, such as "accuracy", for its value in the
            test.
        target: The target, one of the plan's, for steps.
        margin: Difference of the metric that is as good as none; by default 0.2 points of a share, and none of another
            metric.
        steps_margin: Share of the steps that is as good as none.
    """

    measure: str = "accuracy"
    target: float | None = None
    margin: float | None = None
    steps_margin: float = RATIO_MARGIN

    def check(self, metric: Metric, targets: Sequence[float]) -> None:
        """Check it against the plan.

        Raises:
            UserError: It asks for another metric or target, or a margin is out of range.
        """
        if self.measure == "steps":
            if self.target not in targets:
                known = ", ".join(f"{target:g}" for target in targets)
                raise UserError(f"question.target must be one of the plan's targets, {known}; got {self.target}")
        elif not self.on(metric) or self.target is not None:
            raise UserError(
                f"question must be {{measure: {metric.name}}} or {{measure: steps, target: {targets[0]:g}}}, "
                f"got measure {self.measure!r}{'' if self.target is None else f' with target {self.target:g}'}"
            )
        if self.margin is not None and not (math.isfinite(self.margin) and self.margin > 0):
            raise UserError(f"question.margin must be above 0, such as 0.002 for 0.2 points, got {self.margin}")
        if not 0 < self.steps_margin < 1:
            raise UserError(f"question.steps_margin must be between 0 and 1, such as 0.1, got {self.steps_margin}")

    def on(self, metric: Metric) -> bool:
        """Whether it asks for the metric in the test; without a word of the plan it does."""
        return self.measure in (metric.name, Question.measure)

    def metric_margin(self, metric: Metric) -> float | None:
        """Difference of the metric that is as good as none; None where nobody said one."""
        return self.margin if self.margin is not None else POINTS_MARGIN if metric.percent else None
