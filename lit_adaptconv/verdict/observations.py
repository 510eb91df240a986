"""A results table as arrays of arms × budgets × pairs, which is how the statistics see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lit_adaptconv.errors import UserError
from lit_adaptconv.verdict.statistics import Array, Mask
from lit_adaptconv.verdict.summaries import Cell, Measure, to_target

ENDS: dict[Measure, str] = {
    "steps": "steps",
    "epochs": "epochs",
    "flops": "training_flops",
    "seconds": "training_seconds",
}
"""Column that holds how long a trial was followed, in each measure."""


@dataclass(frozen=True)
class Observations:
    """The trials of a sweep.

    Attributes:
        table: A row a trial.
        arms: Names, the primary arm first.
        budgets: Ascending, None last.
        rows: Row of the table that holds each trial, shape `(arms, budgets, pairs)`; -1 where there is no trial.
    """

    table: pa.Table
    arms: tuple[str, ...]
    budgets: tuple[int | None, ...]
    rows: npt.NDArray[np.intp]

    def column(self, name: str) -> Array:
        """A column of numbers, shape `(arms, budgets, pairs)`; NaN where there is none, or none that is finite."""
        values = np.append(_numbers(self.table, name), np.nan)[self.rows]
        return np.where(np.isfinite(values), values, np.nan)

    def status(self, status: str) -> Mask:
        """Which trials have a status, shape `(arms, budgets, pairs)`."""
        equal = pc.fill_null(pc.equal(pc.cast(self.table["status"], pa.string()), status), False)
        return np.asarray(np.append(equal.to_numpy(zero_copy_only=False), False)[self.rows], dtype=np.bool_)

    def final(self) -> Array:
        """The test metric of the finished trials, NaN for the others, shape `(arms, budgets, pairs)`."""
        return np.where(self.status("done"), self.column("test_metric"), np.nan)

    def reached(self, target: float) -> Mask:
        """Which trials reached a target; one that diverged has no network to show for it and did not."""
        return np.isfinite(self.column(to_target("steps", target))) & ~self.status("diverged")

    def follow_up(self, target: float, measure: Measure) -> tuple[Array, Array]:
        """When each trial reached a target, and how long it was followed.

        Args:
            target: The target.
            measure: What to count in.

        Returns:
            Time to the target, infinite where it was not reached, and length of the follow-up, infinite for a trial
            that diverged; both NaN where there is no trial or it did not record them, shape `(arms, budgets, pairs)`.
        """
        reached = self.reached(target)
        time, end = self.column(to_target(measure, target)), self.column(ENDS[measure])
        end = np.where(self.status("diverged"), np.inf, end)
        end = np.where(reached, np.fmax(time, end), end)
        time = np.where(reached, time, np.inf)
        known = (time > 0) & (end > 0)  # of a trial that failed before its first step nothing is known
        return np.where(known, time, np.nan), np.where(known, end, np.nan)

    def observed(self, target: float, measure: Measure) -> Array:
        """When each trial reached a target or, where it did not, until when it was followed.

        Args:
            target: The target.
            measure: What to count in.

        Returns:
            Finite times, that of a trial that diverged the longest of its arm and budget; NaN where nothing is known,
            shape `(arms, budgets, pairs)`.
        """
        time, end = self.follow_up(target, measure)
        longest = np.where(np.isfinite(end), end, 0.0).max(-1, keepdims=True)
        return np.where(np.isinf(time), np.minimum(end, np.where(longest > 0, longest, np.nan)), time)

    def cells(self) -> list[list[Cell | None]]:
        """Each arm at each budget; None where it has no trials there."""
        exists, done = self.rows >= 0, self.status("done")
        parameters, flops = self.column("parameters"), self.column("flops")
        return [
            [
                Cell(arm, budget, _largest(parameters[a, b]), _largest(flops[a, b]), int(n), int(n - done[a, b].sum()))
                if (n := exists[a, b].sum())
                else None
                for b, budget in enumerate(self.budgets)
            ]
            for a, arm in enumerate(self.arms)
        ]


def observe(results: pa.Table, targets: Sequence[float], primary_arm: str) -> Observations:
    """Arrange a results table by arm, budget and pair.

    Args:
        results: A row a trial.
        targets: The targets whose columns are needed.
        primary_arm: The arm that comes first.

    Raises:
        UserError: A column is missing, the table holds several sweeps, the primary arm has no trial, or two trials of
            an arm belong to the same pair at the same budget.
    """
    wanted = ["arm", "budget", "pair", "status", "parameters", "flops", "test_metric", *ENDS.values()]
    wanted += [to_target(measure, target) for target in targets for measure in ENDS]
    if missing := [name for name in wanted if name not in results.column_names]:
        raise UserError(f"the results have no column {', '.join(missing)}: were these targets in the plan?")
    if "sweep" in results.column_names and len(sweeps := set(results["sweep"].to_pylist())) > 1:
        raise UserError(f"the results are of several sweeps ({', '.join(map(str, sorted(sweeps, key=str)))}): give one")
    names = [str(name) for name in results["arm"].to_pylist()]
    if primary_arm not in names:
        found = ", ".join(dict.fromkeys(names)) or "none"
        raise UserError(f"no trial of the primary arm {primary_arm!r}; arms in the results: {found}")
    arms = (primary_arm, *(name for name in dict.fromkeys(names) if name != primary_arm))
    arm = np.array([arms.index(name) for name in names])

    asked = results["budget"].to_pylist()
    budgets = (*sorted({b for b in asked if b is not None}), *([None] if None in asked else []))
    place = {b: i for i, b in enumerate(budgets)}
    budget = np.array([place[b] for b in asked])

    known: list[dict[tuple[object, int], int]] = [{} for _ in budgets]  # column of each pair, by budget
    column = np.empty(len(names), np.intp)
    for row, (b, pair) in enumerate(zip(budget, results["pair"].to_pylist(), strict=True)):
        key = (pair, -1 if pair is not None else row)  # a trial without a pair stays alone
        column[row] = known[b].setdefault(key, len(known[b]))
    rows = np.full((len(arms), len(budgets), int(column.max()) + 1), -1, dtype=np.intp)
    rows[arm, budget, column] = np.arange(len(names))
    if (rows >= 0).sum() < len(names):
        raise UserError("two trials of an arm have the same pair at the same budget: each trial belongs in one row")
    return Observations(results, arms, budgets, rows)


def _numbers(table: pa.Table, name: str) -> Array:
    column = pc.cast(table[name], pa.float64(), safe=False)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _largest(values: Array) -> int | None:
    values = values[np.isfinite(values)]
    return int(values.max()) if len(values) else None
