"""A results table as arrays of arms × budgets × pairs, which is how the statistics see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Limits, in_order
from lit_adaptconv.verdict.budget_columns import budgets_of
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.speed import Times
from lit_adaptconv.verdict.statistics import Array, Mask
from lit_adaptconv.verdict.summaries import Cell, Measure, to_target

ENDS: dict[Measure, str] = {
    "steps": "steps",
    "epochs": "epochs",
    "flops": "training_flops",
    "seconds": "training_seconds",
}
"""Column that holds how long a trial was trained, in each measure."""
EVALUATED: dict[Measure, str] = {"steps": "step", "epochs": "epoch", "flops": "flops", "seconds": "seconds"}
"""Column of an evaluation that holds the same."""


LATENCIES = ("onnx_latency", "torch_latency")
"""Columns with the seconds of one image, which older tables lack."""


SINGLE_STEP: Measure = "steps"
"""What all times are compared in; the others are it times the cost of a step."""


@dataclass(frozen=True)
class Curves:
    """When the trials' learning curves came to a target to stay, or twice running; arrays with an element a row.

    Attributes:
        known: Whether the trial has a curve.
        ends: Its last evaluation, in each measure.
        reached: The evaluation that reached each target, in each measure; NaN where none did.
        before: Steps at the evaluation before it.
    """

    known: Mask
    ends: dict[Measure, Array]
    reached: dict[float, dict[Measure, Array]]
    before: dict[float, Array]


@dataclass(frozen=True)
class Observations:
    """The trials of a sweep.

    Attributes:
        table: One row per trial.
        arms: Names, the primary arm first.
        budgets: In order, None last.
        rows: Row of the table that holds each trial, shape `(arms, budgets, pairs)`; -1 where there is no trial.
        curves: What the learning curves say; None where they are not at hand, and then a target is reached when it is
            reached first.
    """

    table: pa.Table
    arms: tuple[str, ...]
    budgets: tuple[Limits | None, ...]
    rows: npt.NDArray[np.intp]
    curves: Curves | None = None

    def _placed(self, values: Array) -> Array:
        return np.append(values, np.nan)[self.rows]

    def column(self, name: str) -> Array:
        """A column of numbers, shape `(arms, budgets, pairs)`; NaN where there is none, or none that is finite."""
        values = np.append(_numbers(self.table, name), np.nan)[self.rows]
        return np.where(np.isfinite(values), values, np.nan)

    @cached_property
    def independent(self) -> Mask:
        """Where an arm's evidence counts for all budgets together, shape `(arms - 1, budgets)`.

        Where the limit of a budget does not bind, a network is that of another budget, trained again with the same
        seeds: a budget counts if neither the arm's network nor the primary arm's is that of one which counts already.
        """
        cells = self.cells()
        exists: Mask = np.asarray((self.rows >= 0).any(-1))
        found = np.zeros((len(self.arms) - 1, len(self.budgets)), np.bool_)
        for a in range(1, len(self.arms)):
            seen: set[tuple[int, object]] = set()
            for b in np.flatnonzero(exists[0] & exists[a]):
                networks = {(arm, cell.network) for arm in (0, a) if (cell := cells[arm][b]) and cell.network}
                found[a - 1, b] = not networks & seen
                seen |= networks if found[a - 1, b] else set()
        return found

    def status(self, status: str) -> Mask:
        """Which trials have a status, shape `(arms, budgets, pairs)`."""
        equal = pc.fill_null(pc.equal(pc.cast(self.table["status"], pa.string()), status), False)
        return np.asarray(np.append(equal.to_numpy(zero_copy_only=False), False)[self.rows], dtype=np.bool_)

    def final(self) -> Array:
        """The test metric of the finished trials, NaN for the others, shape `(arms, budgets, pairs)`."""
        return np.where(self.status("done"), self.column("test_metric"), np.nan)

    def reached_once(self, target: float) -> Mask:
        """Which trials had an evaluation that reached a target, whatever came after it."""
        return np.isfinite(self.column(to_target("steps", target))) & ~self.status("diverged")

    def reached(self, target: float) -> Mask:
        """Which trials reached a target to stay or twice running; one that diverged has no network to show for it."""
        return np.isfinite(self._time(target, "steps")) & ~self.status("diverged")

    def _time(self, target: float, measure: Measure) -> Array:
        first = self.column(to_target(measure, target))
        if self.curves is None:
            return first
        known = self._placed(self.curves.known.astype(np.float64)) == 1
        return np.where(known, self._placed(self.curves.reached[target][measure]), first)

    def _end(self, measure: Measure) -> Array:
        trained = self.column(ENDS[measure])
        if self.curves is None:
            return trained
        last = self._placed(self.curves.ends[measure])
        return np.where(np.isfinite(last), last, trained)

    def follow_up(self, target: float, measure: Measure) -> tuple[Array, Array]:
        """When each trial reached a target, and how long it was followed: until its last evaluation.

        Args:
            target: The target.
            measure: What to count in.

        Returns:
            Time to the target, infinite where it was not reached, and length of the follow-up, infinite for a trial
            that diverged; both NaN where there is no trial or it did not record them, shape `(arms, budgets, pairs)`.
        """
        reached = self.reached(target)
        time, end = self._time(target, measure), self._end(measure)
        end = np.where(self.status("diverged"), np.inf, end)
        end = np.where(reached, np.fmax(time, end), end)
        time = np.where(reached, time, np.inf)
        known = (time > 0) & (end > 0)  # of a trial that failed before its first step nothing is known
        return np.where(known, time, np.nan), np.where(known, end, np.nan)

    def times(self, target: float) -> Times:
        """Steps to a target, of every arm and budget, each of shape `(arms, budgets, pairs)`."""
        time, end = self.follow_up(target, SINGLE_STEP)
        before = np.zeros(time.shape)
        if self.curves is not None:
            before = np.nan_to_num(self._placed(self.curves.before[target]))
        longest = np.where(np.isfinite(end), end, 0.0).max(-1, keepdims=True)
        diverged = np.isinf(end) & (longest > 0)
        end = np.where(diverged, longest, end)
        exact = self.curves is None
        return Times(time, np.where(np.isfinite(time), time if exact else before, 0.0), end)

    @cached_property
    def timed_by_turns(self) -> bool:
        """Whether the step of every network was timed by turns with those of all others."""
        if "step_seconds" not in self.table.column_names:
            return False
        return bool(((self.rows < 0) | (self.column("step_seconds") > 0)).all())

    def step_costs(self, measure: Measure) -> Array:
        """Logarithm of what a step costs, of every trial, shape `(arms, budgets, pairs)`; NaN where it is not known.

        In seconds it is that of its network, where all were timed by turns, else the trial's own.
        """
        if measure == "seconds" and self.timed_by_turns:
            return np.asarray(np.log(self.column("step_seconds")))
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = np.log(self._end(measure) / self._end(SINGLE_STEP))
        return np.where(np.isfinite(cost), cost, np.nan)

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
        counted = [self.column(name) for name in ("parameters", "flops")]
        weights = self.column("file_bytes") if "file_bytes" in self.table.column_names else None
        known = "widths" in self.table.column_names
        widths = self.table["widths"].to_pylist() if known else [None] * self.table.num_rows
        latencies = [self.column(name) for name in LATENCIES if name in self.table.column_names]

        def cell(a: int, b: int) -> Cell | None:
            n = int(exists[a, b].sum())
            if n == 0:
                return None
            parameters, flops = (_largest(column[a, b]) for column in counted)
            told = next((widths[row] for row in self.rows[a, b] if row >= 0 and widths[row]), None)
            unfinished = n - int(done[a, b].sum())
            weight = None if weights is None else _largest(weights[a, b])
            timed = (_median(latency[a, b]) for latency in latencies)
            return Cell(self.arms[a], self.budgets[b], parameters, flops, n, unfinished, _widths(told), weight, *timed)

        return [[cell(a, b) for b in range(len(self.budgets))] for a in range(len(self.arms))]


def observe(
    results: pa.Table,
    targets: Sequence[float],
    primary_arm: str,
    curves: pa.Table | None = None,
    metric: Metric = ACCURACY,
) -> Observations:
    """Arrange a results table by arm, budget and pair.

    Args:
        results: One row per trial.
        targets: The targets whose columns are needed.
        primary_arm: The arm that comes first.
        curves: One row per evaluation, the columns of `curves.parquet`; without them a target is reached when it is
            reached first.
        metric: What the networks are judged by.

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

    asked = budgets_of(results)
    budgets = in_order(asked)
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
    seen = None if curves is None or "trial" not in results.column_names else _curves(results, curves, targets, metric)
    return Observations(results, arms, budgets, rows, seen)


def _curves(results: pa.Table, curves: pa.Table, targets: Sequence[float], metric: Metric) -> Curves:
    place = {trial: row for row, trial in enumerate(results["trial"].to_pylist())}
    row = np.array([place.get(trial, -1) for trial in curves["trial"].to_pylist()], np.intp)
    measured: dict[Measure, Array] = {m: _numbers(curves, name) for m, name in EVALUATED.items()}
    value = _numbers(curves, "val_metric")
    order = np.lexsort((measured["steps"], row))
    order = order[(row[order] >= 0)]
    row, value = row[order], value[order]
    measured = {m: x[order] for m, x in measured.items()}
    last = np.append(row[1:] != row[:-1], True) if len(row) else np.zeros(0, np.bool_)
    follows = np.append(False, row[1:] == row[:-1]) if len(row) else np.zeros(0, np.bool_)
    before = np.where(follows, np.append(0.0, measured["steps"][:-1])[: len(row)], 0.0)
    rows = results.num_rows

    def filled(at: npt.NDArray[np.intp], values: Array) -> Array:
        found = np.full(rows, np.nan)
        found[row[at][::-1]] = values[at][::-1]  # of several the first
        return found

    ends = np.flatnonzero(last)
    known = np.zeros(rows, np.bool_)
    known[row] = True
    reached: dict[float, dict[Measure, Array]] = {}
    earlier: dict[float, Array] = {}
    for target in targets:
        enough = metric.sign * (value - target) >= 0
        stays = np.flatnonzero(enough & (last | np.append(enough[1:], True)[: len(row)]))
        reached[target] = {m: filled(stays, x) for m, x in measured.items()}
        earlier[target] = filled(stays, before)
    return Curves(
        known,
        {m: filled(ends, x) for m, x in measured.items()},
        reached,
        earlier,
    )


def _numbers(table: pa.Table, name: str) -> Array:
    column = pc.cast(table[name], pa.float64(), safe=False)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _widths(text: str | None) -> tuple[int, ...]:
    parts = (text or "").split("-")
    return tuple(map(int, parts)) if all(part.isdecimal() and int(part) for part in parts) else ()


def _median(values: Array) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _largest(values: Array) -> int | None:
    values = values[np.isfinite(values)]
    return int(values.max()) if len(values) else None
