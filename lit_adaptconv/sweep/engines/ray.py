"""Trials as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import torch

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text
from lit_adaptconv.sweep.engines.base import Job, Outcome, RunTrial
from lit_adaptconv.sweep.engines.worker import run_job
from lit_adaptconv.train.runs import CONFIG

ENVIRONMENT = ("WANDB_", "XDG_CACHE_HOME", "CUBLAS_WORKSPACE_CONFIG", "JSONARGPARSE_", "LIT_ADAPTCONV_")
"""Beginnings of the environment variables that trials on other machines get too."""

CONNECT_SECONDS = 10.0

Files = dict[str, bytes]
"""A folder's files by their paths in it."""


class RayEngine:
    """Runs trials on a cluster that is there already, or on one that is started here and ends with the sweep.

    Where a machine sees the sweep's folder, a trial runs in it. Elsewhere it runs in a temporary folder, and its files
    come back when it ends. A trial whose machine disappeared is given back as lost.

    Args:
        run_trial: Runs a trial; its module must be installed on every machine.
        folder: The sweep's folder.
        address: Address of the cluster; None starts one.
        workers: Trials at the same time; None: as many as the cluster has room for, also when it grows.
        cpus: CPU threads of a trial.
        gpus: GPUs of a trial, of the number that the cluster has; None: it sees all of its machine, unless the
            cluster was started to hide them.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        run_trial: RunTrial,
        folder: Path,
        address: str | None = None,
        workers: int | None = None,
        cpus: int | None = None,
        gpus: Callable[[int], float | None] = lambda present: None,
    ) -> None:
        # Read when Ray is imported: a task that asks for no GPU sees all of them, as with the local engine.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError(f"--engine ray needs Ray: pip install 'lit-adaptconv[ray]' ({error})") from None
        self._ray = ray
        options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
        try:
            _reach(address)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except OSError as error:
            raise UserError(f"no Ray cluster answers at {address}: {error}") from None
        self._workers = workers
        self._cpus = cpus or 1
        self._gpus = gpus(int(ray.cluster_resources().get("GPU", 0))) or 0.0
        self._started_here = address is None
        # A machine that reads this file's content sees the sweep's folder itself, not one of the same name.
        self._token = uuid4().hex
        self._token_file = folder / ".ray"
        write_text(self._token_file, self._token)
        self._task = ray.remote(max_retries=0, num_cpus=self._cpus, num_gpus=self._gpus)(_run)
        self._run_trial = run_trial
        self._jobs: dict[Any, Job] = {}

    @property
    def slots(self) -> int:
        """Trials that the cluster has room for."""
        if self._workers is not None:
            return self._workers
        there = self._ray.cluster_resources()
        room = int(there.get("CPU", 1) // self._cpus)
        if self._gpus:
            room = min(room, int(there.get("GPU", 0) / self._gpus))
        return max(1, room)

    def submit(self, job: Job) -> None:
        """Start a job somewhere in the cluster."""
        environment = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
        files = _read(job.folder) if job.resume else {CONFIG: (job.folder / CONFIG).read_bytes()}
        place = (str(self._token_file), self._token)
        reference = self._task.remote(job, self._run_trial, self._cpus, environment, files, place)
        self._jobs[reference] = job

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return the jobs that have ended."""
        ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = self._ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=0)
        return [self._take(reference) for reference in ready]

    def _take(self, reference: Any) -> tuple[Job, Outcome]:
        job = self._jobs.pop(reference)
        errors = self._ray.exceptions
        try:
            outcome, files = self._ray.get(reference)
        except errors.TaskCancelledError:
            return job, Outcome("interrupted", "interrupted by the user")
        except errors.RayTaskError as error:  # before or after the trial, which raises nothing itself
            return job, Outcome("failed", str(error).strip().splitlines()[-1])
        except errors.OutOfMemoryError:
            return job, Outcome("lost", "killed by Ray: out of memory")
        except errors.RayError as error:
            return job, Outcome("lost", f"its process or machine disappeared ({type(error).__name__})")
        try:
            _write(job.folder, files)
        except OSError as error:
            return job, Outcome("failed", f"its files could not be written: {error}")
        return job, outcome

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the tasks under way."""
        for reference in self._jobs:
            self._ray.cancel(reference, force=False, recursive=False)

    def close(self) -> None:
        """Kill the tasks under way and leave the cluster; end it if it was started here."""
        for reference in self._jobs:
            self._ray.cancel(reference, force=True)
        self._jobs.clear()
        self._ray.shutdown()
        self._token_file.unlink(missing_ok=True)


def _reach(address: str | None) -> None:
    """Try to connect to `host:port`: Ray itself tries for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _run(
    job: Job, run_trial: RunTrial, threads: int, environment: dict[str, str], files: Files, place: tuple[str, str]
) -> tuple[Outcome, Files]:
    """Run a job on whichever machine this is.

    Returns:
        How it ended, and the folder's files where the machine does not see the sweep's folder.
    """
    os.environ.update(environment)
    torch.set_num_threads(threads)
    if _sees(*place):
        return run_job(job, run_trial), {}
    with tempfile.TemporaryDirectory(prefix="adaptconv-") as root:
        folder = Path(root) / job.folder.parent.name / job.folder.name
        _write(folder, files)
        outcome = run_job(replace(job, folder=folder), run_trial)
        return outcome, _read(folder)


def _sees(file: str, token: str) -> bool:
    try:
        return Path(file).read_text() == token
    except OSError:
        return False


def _read(folder: Path) -> Files:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.name != ".lock"}


def _write(folder: Path, files: Files) -> None:
    # The result last: it says that the rest is there.
    for name in sorted(files, key=lambda name: name == "result.json"):
        write_atomically(folder / name, partial(_fill, files[name]))


def _fill(content: bytes, file: BinaryIO) -> None:
    file.write(content)
