"""`adaptconv sweep --dry-run`: what would be trained, how large it is, and how long it would take."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from lit_adaptconv.sweep.estimate import Estimate
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.progress import seconds_on
from lit_adaptconv.sweep.trial import TrialMaker
from lit_adaptconv.verdict.budget_share import budget_share, share_text, unused_note
from lit_adaptconv.verdict.summaries import SummaryTable

from .display import duration
from .fitted import fitted

COLUMNS = ("Budget", "Arm", "Parameters", "Of budget", "FLOPs", "Widths", "Trials", "Done", "A trial")


def print_dry_run(console: Console, maker: TrialMaker, done: set[str], estimate: Estimate | None, workers: int) -> None:
    """Print a row for each arm and budget, and what all of it takes.

    Args:
        console: Where to print.
        maker: Makes the trials; with tuning, as if it found the plan's own values.
        done: Ids of the trials of the comparison that are finished.
        estimate: How long a trial takes.
        workers: Trials that run at the same time.
    """
    plan, sizes, trials = maker.plan, maker.sizes, list(maker.all())
    finished = Counter(ArmBudget(trial.arm, trial.budget) for trial in trials if trial.id in done)
    tuning = plan.tuning.trials if plan.tuning else 0
    left: list[float] = []
    rows: list[tuple[str, ...]] = []
    for at, size in sizes.items():
        takes = "" if estimate is None or size.impossible else duration(estimate.seconds[at])
        if estimate is not None and size.impossible is None:
            left += [estimate.seconds[at]] * (plan.seeds + tuning - finished[at])
        rows.append(
            (
                "–" if at.budget is None else f"{at.budget:,}",
                at.arm,
                "none" if size.impossible else f"{size.parameters:,}",
                share_text(budget_share(size.parameters, at.budget)),
                f"{size.flops:,}" if size.flops else "",
                "-".join(map(str, size.widths or size.settings.values())),
                str(plan.seeds + tuning),
                str(finished[at]),
                takes,
            )
        )
    console.print(fitted(SummaryTable(plan.name, COLUMNS, tuple(rows)), console))
    console.print()
    for size in sizes.values():
        if size.impossible:
            console.print(size.impossible, markup=False, highlight=False, soft_wrap=True)
    if note := unused_note((at.arm, size.parameters, at.budget) for at, size in sizes.items()):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    total = len(trials) + tuning * len(sizes)
    line = f"{total:,} trials, {len(done):,} of them done; {workers} at the same time."
    if tuning:
        line = f"Of the trials of each arm at each budget, {tuning} are to tune it. {line}"
    if estimate is None:
        line += " How long they take is not known: the data are not here yet, or the training has no last epoch."
    else:
        line += f" Estimated time: {duration(seconds_on(workers, [], left))} (from {estimate.source})."
    console.print(line, highlight=False, soft_wrap=True)
