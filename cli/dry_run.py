"""`adaptconv sweep --dry-run`: what would be trained, how large it is, and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console

from lit_adaptconv.sweep.estimate import Estimate
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.sweep.trial import Pair, Trial
from lit_adaptconv.verdict.summaries import SummaryTable

from .display import duration
from .fitted import fitted

COLUMNS = ("Budget", "Arm", "Parameters", "FLOPs", "Widths", "Trials", "Done", "A trial")


def print_dry_run(
    console: Console,
    plan: Plan,
    sizes: Mapping[Pair, NetworkSize],
    trials: Sequence[Trial],
    done: set[str],
    estimate: Estimate | None,
    workers: int,
) -> None:
    """Print a row for each arm and budget, and what all of it takes.

    Args:
        console: Where to print.
        plan: The plan.
        sizes: Size of every network.
        trials: All trials of the comparison; with tuning, as if it found the plan's own values.
        done: Ids of those that are finished.
        estimate: How long a trial takes.
        workers: Trials that run at the same time.
    """
    finished = Counter((trial.arm, trial.budget) for trial in trials if trial.id in done)
    tuning = plan.tuning.trials if plan.tuning else 0
    seconds = 0.0
    rows: list[tuple[str, ...]] = []
    for pair, size in sizes.items():
        arm, budget = pair
        takes = "" if estimate is None or size.impossible else duration(estimate.seconds[pair])
        if estimate is not None and size.impossible is None:
            seconds += estimate.seconds[pair] * (plan.seeds + tuning - finished[pair])
        rows.append(
            (
                "–" if budget is None else f"{budget:,}",
                arm,
                "none" if size.impossible else f"{size.parameters:,}",
                "" if size.impossible else f"{size.flops:,}",
                "-".join(map(str, size.widths)),
                str(plan.seeds + tuning),
                str(finished[pair]),
                takes,
            )
        )
    console.print(fitted(SummaryTable(plan.name, COLUMNS, tuple(rows)), console))
    console.print()
    for size in sizes.values():
        if size.impossible:
            console.print(size.impossible, highlight=False, soft_wrap=True)
    total = len(trials) + tuning * len(sizes)
    line = f"{total:,} trials, {len(done):,} of them done; {workers} at the same time."
    if tuning:
        line = f"Of the trials of each arm at each budget, {tuning} are to tune it. {line}"
    if estimate is None:
        line += " How long they take is not known: the data are not here yet, or the training has no last epoch."
    else:
        line += f" Estimated time: {duration(seconds / workers)} (from {estimate.source})."
    console.print(line, highlight=False, soft_wrap=True)
