"""Trials as jobs of a SLURM cluster, handed in by submitit."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.sweep.engines.base import Job, Outcome, RunTrial
from lit_adaptconv.sweep.engines.worker import run_job

MOST_JOBS = 100
"""Jobs that wait or run at the same time, where no number is given."""
POLL_SECONDS = 0.1
JOBS = ".slurm"
"""File in a sweep's folder: the ids of its jobs, which a sweep that is killed leaves behind."""


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks for.

    Attributes:
        partition: Partition of the cluster; None: its usual one.
        minutes: Longest time of a trial.
        cpus: CPU threads of a trial.
        gpus: GPUs of a trial.
    """

    partition: str | None = None
    minutes: int = 60
    cpus: int = 1
    gpus: int = 0


class SlurmEngine:
    """Runs every trial as a job of its own; its machine must see the sweep's folder at the same path.

    A trial whose job was killed is given back as lost, as is one whose time is up or whose machine is needed for
    others: it continues from its last checkpoint.

    Args:
        run_trial: Runs a trial; its module must be installed on every machine.
        folder: The sweep's folder.
        options: What a job asks for.
        workers: Jobs under way at the same time; None: `MOST_JOBS`, and the cluster's queue decides.
        cluster: "slurm", or "local" for processes of this machine.

    Raises:
        UserError: submitit is not installed, or there is no SLURM here.
    """

    def __init__(
        self,
        run_trial: RunTrial,
        folder: Path,
        options: SlurmOptions,
        workers: int | None = None,
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError(f"--engine slurm needs submitit: pip install 'lit-adaptconv[slurm]' ({error})") from None
        self._submitit = submitit
        self._run_trial = run_trial
        self._options = options
        self.slots = workers or MOST_JOBS
        self._logs = folder / "slurm"
        self._list = folder / JOBS
        try:
            self._executor = submitit.AutoExecutor(self._logs, cluster=cluster)
        except RuntimeError as error:  # no sbatch
            raise UserError(f"--engine slurm runs where SLURM's commands are, such as sbatch: {error}") from None
        self._executor.update_parameters(
            name="adaptconv",
            timeout_min=options.minutes,
            cpus_per_task=options.cpus,
            gpus_per_node=options.gpus,
            **({"slurm_partition": options.partition} if options.partition else {}),
        )
        self._jobs: dict[Any, Job] = {}
        self._end_those_of_before()

    def _end_those_of_before(self) -> None:
        """Cancel what a killed sweep left: its trials are started again."""
        with contextlib.suppress(OSError):
            for id in self._list.read_text().split():
                self._executor.job_class(self._logs, id).cancel(check=False)

    def submit(self, job: Job) -> None:
        """Hand a job in."""
        self._jobs[self._executor.submit(_run, job, self._run_trial, self._options.cpus)] = job
        self._remember()

    def _remember(self) -> None:
        write_text(self._list, "".join(f"{submitted.job_id}\n" for submitted in self._jobs))

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return the jobs that have ended."""
        end = time.monotonic() + timeout
        while True:
            ended = [submitted for submitted in self._jobs if submitted.done()]
            if ended or time.monotonic() > end:
                break
            time.sleep(POLL_SECONDS)
        taken = [self._take(submitted) for submitted in ended]
        if taken:
            self._remember()
        return taken

    def _take(self, submitted: Any) -> tuple[Job, Outcome]:
        job = self._jobs.pop(submitted)
        core = self._submitit.core.utils
        try:
            return job, submitted.result()
        except core.FailedJobError as error:  # before or after the trial, which raises nothing itself
            return job, Outcome("failed", str(error).strip().splitlines()[-1])
        except core.UncompletedJobError:
            return job, Outcome("lost", f"its job {submitted.job_id} was killed (state {submitted.state})")

    def interrupt(self) -> None:
        """End the jobs: those that run write what they have."""
        for submitted in self._jobs:
            submitted.cancel(check=False)

    def close(self) -> None:
        """End the jobs under way."""
        self.interrupt()
        self._jobs.clear()
        self._list.unlink(missing_ok=True)


def _run(job: Job, run_trial: RunTrial, threads: int) -> Outcome:
    """Run a job on whichever machine this is."""
    import torch

    torch.set_num_threads(threads)
    os.environ["SLURM_JOB_NAME"] = "interactive"  # else Lightning expects that srun starts its processes
    ended_early: list[int] = []

    def end_early(number: int, frame: object) -> None:
        ended_early.append(number)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGUSR2, end_early)  # submitit asks for it before the time is up, or a machine is taken away
    again = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0  # SLURM itself has put it back into the queue
    outcome = run_job(replace(job, resume=job.resume or again), run_trial)
    if ended_early and outcome.status == "interrupted":
        return Outcome("lost", "its time was up, or its machine was taken away")
    return outcome
