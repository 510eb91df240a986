"""Arms at equal FLOPs or equal widths: networks of different budgets that happen to agree, and budgets that would.

All of it is exploratory: the plan's question is about equal budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lit_adaptconv.measure.budget import Budget, limits_text
from lit_adaptconv.verdict.evidence import permuted
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import NONE, count, percentage
from lit_adaptconv.verdict.observations import Observations
from lit_adaptconv.verdict.statistics import Array
from lit_adaptconv.verdict.summaries import Bounds, Cell, SummaryTable

Cost = Literal["flops", "width"]
NAMES: dict[Cost, str] = {"flops": "FLOPs", "width": "mean width"}
AGREE = 0.05
"""Costs that differ by no more are equal."""


@dataclass(frozen=True)
class EqualPair:
    """A network of an arm beside the one of the primary arm that costs the same.

    Attributes:
        at: The arm and its budget.
        primary: The primary arm and its budget.
        n: Finished trials of the arm.
        n_primary: Finished trials of the primary arm.
        estimate: Difference of the means of the metric in the test, arm − primary.
        bounds: Its interval for new seeds, of this one difference; None with fewer than two trials of either.
    """

    at: Cell
    primary: Cell
    n: int
    n_primary: int
    estimate: float
    bounds: Bounds | None


@dataclass(frozen=True)
class Missing:
    """An arm without a network that costs what one of the primary arm's does.

    Attributes:
        arm: The arm.
        budget: The budget at which it would have about that cost; None where nothing tells.
        primary: The primary arm's network that it would then equal.
    """

    arm: str
    budget: int | None
    primary: Cell


@dataclass(frozen=True)
class EqualCost:
    """What can be said at equal cost.

    Attributes:
        cost: What is equal.
        pairs: For every network of an arm the primary arm's that is nearest in cost, where they agree within 5 %.
        missing: The arms without a pair, and what would give them one.
        primary: Name of the primary arm.
    """

    cost: Cost
    pairs: tuple[EqualPair, ...]
    missing: tuple[Missing, ...]
    primary: str

    @property
    def title(self) -> str:
        """What the table is about."""
        return f"Test at equal {NAMES[self.cost]} (within {percentage(AGREE)}), exploratory"

    @property
    def notes(self) -> tuple[str, ...]:
        """How to read the table, and what plan would give it more rows."""
        name, agree = NAMES[self.cost], percentage(AGREE)
        read = (
            f"Of two numbers the first is the arm's, the second {self.primary}'s. Each interval is for new seeds and "
            "stands alone: all of this is exploratory."
        )
        notes = [read] if self.pairs else []
        if self.missing:
            arms = ", ".join(m.arm for m in self.missing)
            notes.append(f"No network with the {name} of one of {self.primary}'s, within {agree}: {arms}.")
        plan = [f"{m.arm} {m.budget:,} (as {_named(m.primary)})" for m in self.missing if m.budget]
        if plan:
            notes.append(f"Budgets of about so many parameters would give them one: {', '.join(plan)}.")
        if self.cost == "width" and self.missing:
            notes.append("A plan without budgets gives every arm the backbone's usual widths.")
        return tuple(notes or [f"No other network is known to have the {name} of one of {self.primary}'s."])

    def table(self, metric: Metric, confidence: float) -> SummaryTable:
        """The pairs as text; of two numbers the first is the arm's, the second the primary arm's."""
        name = NAMES[self.cost]
        difference = f"Test {metric.name},{metric.unit or ' difference'}"
        columns = (
            "Arm",
            difference,
            percentage(confidence),
            name[0].upper() + name[1:],
            "Parameters",
            "Budget",
            "Seeds",
        )
        rows = []
        for pair in self.pairs:
            interval = NONE
            if pair.bounds is not None:
                interval = " to ".join(NONE if end is None else metric.difference(end) for end in pair.bounds)
            both = (pair.at, pair.primary)
            costs = (count(c.flops) if self.cost == "flops" else f"{c.width:.3g}" for c in both)
            sizes = (costs, (count(c.parameters) for c in both), (limits_text(c.budget) for c in both))
            seeds = (str(pair.n), str(pair.n_primary))
            told = (" · ".join(numbers) for numbers in (*sizes, seeds))
            rows.append((pair.at.arm, metric.difference(pair.estimate), interval, *told))
        return SummaryTable(self.title, columns, tuple(rows))


def _named(cell: Cell) -> str:
    return cell.arm if cell.budget is None else f"{cell.arm} at {limits_text(cell.budget)}"


def equal_cost(
    observations: Observations, cells: Sequence[Sequence[Cell | None]], cost: Cost, confidence: float
) -> EqualCost:
    """Pair the networks of every arm with the primary arm's, the first, that cost the same within 5 %.

    Args:
        observations: The trials.
        cells: Each arm at each budget, as `Observations.cells` gives them.
        cost: What is to be equal: FLOPs of a forward pass, or the mean width of as many layers.
        confidence: Level of the intervals.
    """
    values = observations.final()
    known: dict[int, list[tuple[Cell, Array]]] = {}
    for a, row in enumerate(cells):
        for b, cell in enumerate(row):
            done = values[a, b][np.isfinite(values[a, b])]
            if cell is not None and getattr(cell, cost) and len(done):
                known.setdefault(a, []).append((cell, done))
    pairs: list[EqualPair] = []
    missing: list[Missing] = []
    for a, mine in known.items():
        if a == 0 or 0 not in known:
            continue
        others = [x for x in known[0] if cost == "flops" or len(x[0].widths) == len(mine[0][0].widths)]
        found = [pair for cell, done in mine if (pair := _pair(cell, done, others, cost, confidence)) is not None]
        pairs += found
        if others and not found:
            missing.append(_advice([cell for cell, _ in mine], [cell for cell, _ in others], cost))
    return EqualCost(cost, tuple(pairs), tuple(missing), observations.arms[0])


def _pair(
    cell: Cell, values: Array, others: Sequence[tuple[Cell, Array]], cost: Cost, confidence: float
) -> EqualPair | None:
    def apart(other: Cell) -> float:
        return abs(float(np.log(getattr(cell, cost) / getattr(other, cost))))

    near = min(
        others,
        key=lambda x: (round(apart(x[0]), 9), x[0].budget != cell.budget, abs(_limit(x[0]) - _limit(cell))),
        default=None,
    )
    if near is None or apart(near[0]) > np.log1p(AGREE) + 1e-12:
        return None
    bounds = None
    if min(len(values), len(near[1])) > 1:
        low, high = permuted(values[np.newaxis], near[1][np.newaxis]).ends(np.array((1 - confidence) / 2))
        bounds = Bounds(*(float(end[0]) if np.isfinite(end[0]) else None for end in (low, high)))
    return EqualPair(cell, near[0], len(values), len(near[1]), float(values.mean() - near[1].mean()), bounds)


def _limit(cell: Cell) -> int:
    return Budget.of(cell.budget).limits.get("parameters", 0) if cell.budget else 0


def _advice(mine: Sequence[Cell], others: Sequence[Cell], cost: Cost) -> Missing:
    """The budget at which an arm would cost about what the primary arm does, where that is nearest to what it has."""
    arm = mine[0].arm
    sizes = sorted((getattr(c, cost), c.parameters) for c in mine if c.parameters)
    if not sizes:
        return Missing(arm, None, others[0])
    costs, parameters = np.log(np.array(sizes, dtype=np.float64)).T
    slope = np.polyfit(costs, parameters, 1)[0] if np.ptp(costs) > 0 else (1.0 if cost == "flops" else 2.0)
    nearest = min(others, key=lambda o: np.abs(np.log(getattr(o, cost)) - costs).min())
    wanted = np.log(getattr(nearest, cost))
    at = int(np.abs(wanted - costs).argmin())
    budget = int(float(f"{np.exp(parameters[at] + slope * (wanted - costs[at])):.2g}"))
    return Missing(arm, budget or None, nearest)
