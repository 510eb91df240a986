"""What a plan can find, before it runs: on the screen at the start of a sweep and of a dry run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.budget import Limits, limits_text
from lit_adaptconv.sweep.frames import read_sweep
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.numbers import p_value, ratio
from lit_adaptconv.verdict.prospect import SHARE_SD, STEPS_SD, Compared, Prospect, prospect, spread_of
from lit_adaptconv.verdict.summaries import SummaryTable

from .fitted import fitted, text

MOST_NAMED = 3


def of_plan(plan: Plan, steps: bool) -> Prospect:
    """What a plan can claim."""
    arms: dict[str, list[Limits | None]] = {name: [] for name in plan.arms}
    for at in plan.arm_budgets:
        arms[at.arm].append(at.budget)
    return prospect(arms, plan.reference, plan.seeds, steps)


def spread_for(plan: Plan, steps: bool, like: Path | None) -> tuple[float | None, str]:
    """Standard deviation between seeds, None where it is not known, and where it is from.

    Raises:
        UserError: The sweep that it is to be taken from has none, or another metric.
    """
    if like is None:
        sd = STEPS_SD if steps else SHARE_SD if plan.metric.percent else None
        return sd, "assumed; --like FOLDER takes it from an earlier sweep"
    made, results, curves = read_sweep(like)
    if (made.metric.name, made.metric.mode) != (plan.metric.name, plan.metric.mode):
        raise UserError(f"{like} was judged by {made.metric.name}, the plan is by {plan.metric.name}")
    try:
        sd = spread_of(results, curves, made.targets, made.primary_arm, made.metric, steps, plan.question.target)
    except UserError as error:
        raise UserError(f"{like}: {error}") from None
    return sd, f"of {like}"


def print_prospect(console: Console, plan: Plan, like: Path | None = None) -> None:
    """Print the smallest p and the effect that each comparison of the plan's question can find."""
    steps = plan.question.measure == "steps"
    metric, found = plan.metric, of_plan(plan, steps)
    sd, source = spread_for(plan, steps, like)
    rows = [
        (
            arms_text(c.arms),
            budgets_text(c),
            str(plan.seeds),
            "any" if c.smallest == 0 else p_value(c.smallest),
            effect_text(c.detects(1.0 if sd is None else sd, plan.seeds, steps), metric, steps, sd is None),
        )
        for c in found.comparisons
    ]
    if rows:
        columns = ("Arm", "Budget", "Seeds", "Smallest p", "Finds 4 times out of 5")
        console.print(fitted(SummaryTable("What the plan can find", columns, tuple(rows)), console))
    asked = f"steps to {metric.goal(plan.question.target or 0.0)}" if steps else f"test {metric.name}"
    known = "not known" if sd is None else spread_text(sd, metric, steps)
    console.print(text(f"Question: {asked}. Spread between seeds: {known} ({source})."), soft_wrap=True)
    for arm in found.alone:
        line = (
            f"{arm} is compared with nothing: it has no budget of {plan.reference}, which the others are compared with."
        )
        if arm == plan.reference:
            line = f"Nothing is compared: no other arm has a budget of {arm}."
        console.print(text(line), soft_wrap=True)
    if rows and not found.can_claim:
        least = p_value(min(c.smallest for c in found.comparisons))
        seeds = f"{plan.seeds} seed{'s' if plan.seeds > 1 else ''}"
        line = (
            f"The plan cannot claim anything: with {seeds} p is at least {least}. With {found.enough} seeds it could."
        )
        console.print(text(line), soft_wrap=True)


def arms_text(arms: Sequence[str]) -> str:
    """The names of a few arms, or the number of many."""
    return ", ".join(arms) if len(arms) <= MOST_NAMED else f"{len(arms)} arms"


def budgets_text(compared: Compared) -> str:
    """Where arms are compared."""
    if compared.together:
        return f"all {len(compared.budgets)} together"
    if len(compared.budgets) > 1:
        return f"each of {len(compared.budgets)}"
    (budget,) = compared.budgets
    return limits_text(budget)


def effect_text(effect: float, metric: Metric, steps: bool, in_sds: bool = False) -> str:
    """An effect that is found."""
    if not math.isfinite(effect):
        return "nothing"
    if steps:
        return f"× {ratio(math.exp(-effect))} steps"
    return f"{effect:.2g} standard deviations" if in_sds else f"{metric.gap(effect)}{metric.unit}"


def spread_text(sd: float, metric: Metric, steps: bool) -> str:
    """A standard deviation with its unit."""
    return f"{sd:.2g} of the logarithm of a ratio" if steps else f"{metric.gap(sd)}{metric.unit}"
