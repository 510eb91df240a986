"""The protocol of an engine. Nothing else of a sweep knows which one runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

RunTrial = Callable[[Path], None]
"""Runs `adaptconv fit` with the config in a trial's folder. It must be picklable, so a function of a module."""


@dataclass(frozen=True)
class Job:
    """A trial to run.

    Attributes:
        id: Id of the trial.
        folder: Its folder, absolute, with its `config.yaml`.
        resume: Whether it continues from the last checkpoint in its folder, if there is one.
    """

    id: str
    folder: Path
    resume: bool


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: As in a run's result; "lost" if its process was killed or its machine disappeared.
        reason: Why it did not end well, in one line.
        seconds: How long it took, without the start of its process.
    """

    status: Literal["done", "failed", "diverged", "interrupted", "lost"]
    reason: str | None = None
    seconds: float | None = None


class Engine(Protocol):
    """Runs jobs, up to `slots` at the same time, each in a process of its own."""

    @property
    def slots(self) -> int:
        """Number of jobs that may be under way; it may change."""

    def submit(self, job: Job) -> None:
        """Start a job. At most `slots` may be under way."""

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Wait until at least one job has ended, or `timeout` seconds, and return those that have."""

    def interrupt(self) -> None:
        """Ask every job under way to write what it has and to end."""

    def close(self) -> None:
        """End everything at once."""
