"""The metric that networks are judged by: which of two values is better, and how people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from lit_adaptconv.errors import UserError
from lit_adaptconv.text import visible
from lit_adaptconv.verdict.numbers import NONE, minus, percentage

SHARES = {"acc", "accuracy", "auc", "auroc", "dice", "f1", "iou", "jaccard", "map", "miou", "precision", "recall"}
"""Words in the names of metrics that are shares, which people read in percent."""
COLUMNS = ("val_metric", "best_val_metric", "test_metric", "train_metric")
"""Columns of a sweep's tables that hold values of the metric."""


@dataclass(frozen=True)
class Metric:
    """A metric, by the names under which a module logs it in validation and in the test.

    Args:
        monitor: Its name in validation, such as `val/rmse`.
        mode: "max" if more of it is better, "min" if less is.
        test_metric: Its name in the test, such as `test/rmse`.

    Raises:
        UserError: The names are those of two metrics, whose values nothing can compare.
    """

    monitor: str = "val/accuracy"
    mode: Literal["max", "min"] = "max"
    test_metric: str = "test/accuracy"

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise UserError(f"mode of the metric must be max or min, got {self.mode!r}")
        if _name(self.monitor) != _name(self.test_metric):
            raise UserError(
                "monitor and test_metric must be one metric in validation and test, such as val/rmse and test/rmse; "
                f"got {self.monitor!r} and {self.test_metric!r}"
            )

    @cached_property
    def name(self) -> str:
        """What people call it: `rmse` for `val/rmse` or `val_rmse`."""
        return _name(self.monitor)

    @cached_property
    def percent(self) -> bool:
        """Whether it is a share, shown in percent, and its differences in percentage points."""
        return self.mode == "max" and not SHARES.isdisjoint(re.split(r"[^a-z0-9]+", self.name.lower()))

    @property
    def scale(self) -> float:
        """What figures multiply its values by."""
        return 100.0 if self.percent else 1.0

    @property
    def sign(self) -> float:
        """1 if more of it is better, -1 if less is: times this, more is better."""
        return 1.0 if self.mode == "max" else -1.0

    def reaches(self, value: float, target: float) -> bool:
        """Whether a value is as good as a target, but for rounding."""
        return self.sign * (value - target) >= 0 or math.isclose(value, target)

    @property
    def better(self) -> str:
        """What a network with a better value is."""
        return "more accurate" if self._accuracy else f"better in {self.name}"

    @property
    def worse(self) -> str:
        """What a network with a worse value is."""
        return "less accurate" if self._accuracy else f"worse in {self.name}"

    @property
    def enough(self) -> str:
        """What a network is whose value reaches a target."""
        return "accurate enough" if self._accuracy else "good enough"

    @property
    def _accuracy(self) -> bool:
        return self.name == "accuracy" and self.mode == "max"

    @property
    def unit(self) -> str:
        """Unit of its differences, after a space."""
        return " points" if self.percent else ""

    def bare(self, value: float | None) -> str:
        """A value without its unit: 97.12, or 0.1235."""
        if value is None or not math.isfinite(value):
            return NONE
        return minus(f"{100 * value:.2f}") if self.percent else _digits(value, 4)

    def shown(self, value: float | None) -> str:
        """A value: 97.12 %, or 0.1235."""
        text = self.bare(value)
        return f"{text} %" if self.percent and text != NONE else text

    def gap(self, difference: float) -> str:
        """A difference without its sign and unit: 0.52, or 0.0123."""
        return f"{abs(100 * difference):.2f}" if self.percent else _digits(abs(difference), 3)

    def difference(self, difference: float) -> str:
        """A difference with its sign, in percentage points of a share: +0.52."""
        if self.percent:
            return minus(f"{100 * difference:+.2f}")
        return f"{'−' if difference < 0 else '+'}{self.gap(difference)}"

    def margin(self, margin: float) -> str:
        """A margin with its unit, without a sign: 0.2 points, or 0.05."""
        return f"{100 * margin:.10g}{self.unit}" if self.percent else f"{margin:.10g}"

    def goal(self, target: float) -> str:
        """A target: 98 %, or 0.05."""
        return percentage(target) if self.percent else f"{target:.10g}"

    def headings(self, columns: Sequence[str]) -> list[str]:
        """Columns of a sweep's tables, those of the metric under its own name: `val_rmse` for `val_metric`."""
        name = "metric" if self.name == "loss" else self.name  # the loss has columns of its own
        return [column.replace("metric", name) if column in COLUMNS else column for column in columns]


def _name(logged: str) -> str:
    return visible(logged.partition("/")[2] or re.sub(r"^(val|valid|validation|test)_", "", logged))


def _digits(value: float, digits: int) -> str:
    """A number with so many significant digits."""
    if value and not 1e-4 <= abs(value) < 1e9:
        return minus(f"{value:.{digits - 1}e}")
    before = math.floor(math.log10(abs(value))) if value else 0
    return minus(f"{value:,.{max(0, digits - 1 - before)}f}")


ACCURACY = Metric()
"""What image classifiers are judged by."""
