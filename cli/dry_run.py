"""`adaptconv sweep --dry-run`: what would be trained, how large it is, and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from lit_adaptconv.measure.budget import limits_text
from lit_adaptconv.measure.latency import milliseconds
from lit_adaptconv.sweep.estimate import Estimate
from lit_adaptconv.sweep.latency_limit import LimitedSize
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.progress import seconds_on
from lit_adaptconv.sweep.run import Prepared
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.verdict.budget_share import repeated_note, share_text, unused_note
from lit_adaptconv.verdict.numbers import NONE
from lit_adaptconv.verdict.summaries import SummaryTable

from .display import duration
from .fitted import fitted

COLUMNS = ("Budget", "Arm", "Parameters", "Of budget", "FLOPs", "Widths", "Trials", "Done", "A trial")


def print_dry_run(
    console: Console,
    prepared: Prepared,
    trials: Sequence[Trial],
    done: set[str],
    estimate: Estimate | None,
    workers: int,
) -> None:
    """Print a row for each arm and budget, and what all of it takes.

    Args:
        console: Where to print.
        prepared: The plan, with its networks.
        trials: All trials, those of tuning included.
        done: Ids of those that are not run again.
        estimate: How long a trial takes.
        workers: Trials that run at the same time.
    """
    plan, sizes, limited = prepared.maker.plan, prepared.maker.sizes, prepared.limited
    every = Counter(ArmBudget(trial.arm, trial.budget) for trial in trials)
    finished = Counter(ArmBudget(trial.arm, trial.budget) for trial in trials if trial.id in done)
    tuning = sum(trial.tuning is not None for trial in trials)
    left: list[float] = []
    rows: list[tuple[str, ...]] = []
    for at, size in sizes.items():
        takes = "" if estimate is None or size.impossible else duration(estimate.seconds[at])
        if estimate is not None and size.impossible is None:
            left += [estimate.seconds[at]] * (every[at] - finished[at])
        rows.append(
            (
                limits_text(at.budget),
                at.arm,
                "none" if size.impossible else f"{size.parameters:,}",
                share_text(at.budget, size.sizes),
                f"{size.flops:,}" if size.flops else "",
                "-".join(map(str, size.widths or size.settings.values())),
                *([] if limited is None else [_latency(limited.at(at))]),
                f"{every[at]:,}",
                f"{finished[at]:,}",
                takes,
            )
        )
    columns = [*COLUMNS]
    if limited is not None:
        columns.insert(COLUMNS.index("Trials"), f"Image, ms (at most {milliseconds(limited.limit.seconds)})")
    console.print(fitted(SummaryTable(plan.name, tuple(columns), tuple(rows)), console))
    console.print()
    for size in sizes.values():
        if size.impossible:
            console.print(size.impossible, markup=False, highlight=False, soft_wrap=True)
    unused = unused_note((at.arm, at.budget, size.sizes) for at, size in sizes.items())
    repeated = repeated_note((at.arm, at.budget, size.network) for at, size in sizes.items())
    for note in filter(None, (unused, repeated)):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    line = f"{len(trials):,} trials, {len(done):,} of them done; {workers:,} at the same time."
    if tuning:
        line = f"{tuning:,} of the trials tune, before the comparison begins. {line}"
    if estimate is None:
        line += " How long they take is not known: the data are not here yet, or the training has no last epoch."
    else:
        line += f" Estimated time: {duration(seconds_on(workers, [], left))} (from {estimate.source})."
    console.print(line, highlight=False, soft_wrap=True)


def _latency(one: LimitedSize | None) -> str:
    """The measured time of a network that the limit chose, with its quartiles."""
    if one is None or one.latency is None:
        return NONE
    found = one.latency
    return f"{milliseconds(found.median)} ({milliseconds(found.lower)}–{milliseconds(found.upper)})"
