"""`adaptconv plan`: how many seeds a plan takes to find an effect, and what they cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jsonargparse import Namespace
from rich.console import Console

from lit_adaptconv.errors import UsageError, UserError
from lit_adaptconv.sweep.engines.local import local_slots
from lit_adaptconv.sweep.estimate import estimate
from lit_adaptconv.sweep.plan import ArmBudget, Plan
from lit_adaptconv.sweep.reading import read_plan
from lit_adaptconv.sweep.run import default_folder, prepare
from lit_adaptconv.train.configs import find_config
from lit_adaptconv.verdict.prospect import Compared
from lit_adaptconv.verdict.summaries import SummaryTable

from .display import duration
from .fitted import fitted, text
from .prospect import arms_text, budgets_text, effect_text, of_plan, spread_for, spread_text


@dataclass(frozen=True)
class Cost:
    """Seconds of a trial of each arm at each budget, and where they are from; None where they are not known."""

    seconds: dict[ArmBudget, float] | None
    source: str


def plan(given: Namespace) -> int:
    """Print how many seeds a plan takes to find an effect 4 times out of 5.

    Returns:
        Exit status: 0.

    Raises:
        UserError: The plan is not valid, the effect is out of range, or the spread is not known.
    """
    if (given.detect is None) == (given.detect_ratio is None):
        raise UsageError("give --detect, such as 0.2 points, or --detect-ratio, such as 0.85")
    if given.like is not None and given.sd is not None:
        raise UsageError("give --like or --sd, not both")
    made = read_plan(find_config(given.plan))
    steps = given.detect_ratio is not None
    metric = made.metric
    effect = abs(math.log(given.detect_ratio)) if steps and given.detect_ratio > 0 else 0.0
    effect = effect if steps else given.detect / metric.scale
    if not 0 < effect < math.inf:
        raise UsageError("--detect must be above 0, such as 0.2, and --detect-ratio above 0 and not 1, such as 0.85")
    if given.sd is not None and not 0 < given.sd < math.inf:
        raise UsageError(f"--sd must be above 0, got {given.sd:g}")
    sd, source = spread_for(made, steps, given.like)
    if given.sd is not None:
        sd, source = given.sd / (1 if steps else metric.scale), "given"
    if sd is None:
        raise UserError(f"how much seeds differ in {metric.name} is not known: give --like or --sd")
    console = Console()
    found = of_plan(made, steps)
    if not found.comparisons:
        raise UserError(f"nothing is compared: no other arm has a budget of {made.reference}")
    cost = _cost(made)
    rows = tuple(_row(made, c, effect, sd, steps, cost) for one in found.comparisons for c in one.by_budget)
    columns = ("Arm", "Budget", "Seeds", "Trials", "Training")
    title = f"Seeds that find {effect_text(effect, metric, steps)} 4 times out of 5"
    console.print(fitted(SummaryTable(title, columns, rows), console))
    console.print(text(f"Spread between seeds: {spread_text(sd, metric, steps)} ({source})."), soft_wrap=True)
    console.print(text(cost.source), soft_wrap=True)
    return 0


def _row(plan: Plan, compared: Compared, effect: float, sd: float, steps: bool, cost: Cost) -> tuple[str, ...]:
    seeds = compared.seeds(effect, sd, steps)
    arms = {plan.reference, *compared.arms}
    places = [at for at in plan.arm_budgets if at.arm in arms and at.budget in compared.budgets]
    first = (arms_text(compared.arms), budgets_text(compared))
    if seeds is None:
        return (*first, "too many", "", "")
    seconds = None if cost.seconds is None else [cost.seconds.get(at) for at in places]
    known = [s for s in seconds or [] if s is not None]
    takes = duration(seeds * sum(known)) if known else "not known"
    return (*first, f"{seeds:,}", f"{seeds * len(places):,}", takes)


def _cost(plan: Plan) -> Cost:
    """Seconds of a trial, one at a time; a plan whose data are not here is planned without."""
    unknown = Cost(None, "How long a training takes is not known: the data are not here yet, or it has no last epoch.")
    try:
        folder = default_folder(plan)
        expected = estimate(prepare(plan, folder), folder, local_slots(1, plan.cpus, None).threads)
    except UserError as error:
        return Cost(None, f"How long a training takes is not known: {error}.")
    if expected is None:
        return unknown
    return Cost(dict(expected.seconds), f"The time is for one trial after another (from {expected.source}).")
