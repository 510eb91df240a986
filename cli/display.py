"""A sweep's progress on the screen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from lit_adaptconv.sweep.progress import Progress

from .fitted import text

SHOWN = 16
"""Running trials that are listed; a cluster may run more."""


@contextlib.contextmanager
def live(console: Console) -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    """Show the progress while a sweep runs: what shows it, and what prints a line that stays.

    Where the output is not a terminal only the lines appear.
    """

    def say(line: str) -> None:
        console.print(text(line), soft_wrap=True)

    if not console.is_terminal:
        yield lambda progress: None, say
        return
    with Live(console=console, auto_refresh=False, transient=True) as screen:
        yield lambda progress: screen.update(render(progress), refresh=True), say


def render(progress: Progress) -> RenderableType:
    """The progress as a bar, the counts, and the trials under way."""
    done = sum(progress.ended.values())
    line = Table.grid(padding=(0, 2))
    counts = [f"{number:,} {status}" for status, number in progress.ended.items()]
    left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
    line.add_row(
        text(progress.name),
        ProgressBar(max(progress.total, 1), done, width=30),
        f"{done:,} of {progress.total:,}",
        ", ".join([*counts, f"{len(progress.running):,} running"]),
        left,
    )
    trials = Table(box=None, padding=(0, 2), show_header=False)
    for running in progress.running[:SHOWN]:
        epoch = "" if running.epoch is None else f"epoch {running.epoch:g}"
        of = f" of {progress.epochs}" if epoch and progress.epochs else ""
        trials.add_row(text(running.title), epoch + of, running.value or "", duration(running.seconds))
    if len(progress.running) > SHOWN:
        trials.add_row(f"and {len(progress.running) - SHOWN} more", "", "", "")
    return Group(line, trials)


def duration(seconds: float) -> str:
    """Seconds as people read them: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
