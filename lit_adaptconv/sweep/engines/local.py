"""Trials in processes of this machine: the standard library's process pool, one pool of one worker for each slot."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.environment import usable_cores
from lit_adaptconv.sweep.devices import VISIBLE, visible_gpus
from lit_adaptconv.sweep.engines.base import Job, Outcome, RunTrial
from lit_adaptconv.sweep.engines.worker import end_group, initialise, run_job

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Slots:
    """How this machine is divided among trials.

    Attributes:
        number: Trials at the same time.
        threads: CPU threads of each.
        devices: What the trials see of the GPUs, in turn, as `CUDA_VISIBLE_DEVICES` says it; empty: all.
    """

    number: int
    threads: int
    devices: tuple[str, ...] = ()

    @property
    def sharing(self) -> int:
        """Trials that train on one device at the same time, at the most."""
        return -(-self.number // max(1, len(self.devices)))


def local_slots(
    workers: int | None, cpus: int | None, gpus: float | None, visible: Sequence[str] | None = None
) -> Slots:
    """Divide this machine's cores and GPUs.

    Args:
        workers: Trials at the same time; None: as many as there is room for.
        cpus: Threads of a trial; None: the cores divided by the number of workers.
        gpus: GPUs of a trial, perhaps a fraction; None: each sees all of them.
        visible: The GPUs that there are; None: those that this process sees.

    Raises:
        UserError: Fewer than one worker, or more GPUs than there are.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    cores = usable_cores()
    room = max(1, cores // (cpus or 1))
    devices: tuple[str, ...] = ()
    if gpus:
        names = visible_gpus() if visible is None else visible
        whole = max(1, round(gpus))
        if whole > len(names):
            raise UserError(f"gpus: a trial asks for {gpus:g}, this machine has {len(names)}")
        devices = tuple(",".join(names[i : i + whole]) for i in range(0, len(names) - whole + 1, whole))
        on_gpus = len(devices) if gpus >= 1 else round(len(names) * (1 / gpus))
        room = on_gpus if cpus is None else min(room, on_gpus)
    elif gpus == 0:
        devices = ("",)
    number = workers or room
    return Slots(number, cpus or max(1, cores // number), devices)


class LocalEngine:
    """Warm worker processes that run one trial after the other.

    Every slot is a pool of its own, so that the death of a worker costs no trial but the one that it ran.

    Args:
        run_trial: Runs a trial.
        slots: How many workers, and what each may use.
    """

    def __init__(self, run_trial: RunTrial, slots: Slots) -> None:
        self.slots = slots.number
        self._run_trial = run_trial
        self._workers = [
            _Worker(slots.threads, {VISIBLE: slots.devices[i % len(slots.devices)]} if slots.devices else {})
            for i in range(slots.number)
        ]
        self._interrupting = False

    def submit(self, job: Job) -> None:
        """Start a job in a free worker."""
        next(worker for worker in self._workers if worker.job is None).start(job, self._run_trial)

    def wait(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return the jobs that have ended."""
        busy = [worker for worker in self._workers if worker.job is not None]
        if self._interrupting:
            for worker in busy:
                worker.signal(signal.SIGINT)
        futures = [worker.future for worker in busy if worker.future is not None]
        concurrent.futures.wait(futures, timeout, concurrent.futures.FIRST_COMPLETED)
        return [worker.take() for worker in busy if worker.future is not None and worker.future.done()]

    def interrupt(self) -> None:
        """Pass Ctrl-C on; `wait` repeats it for workers that were not listening yet."""
        self._interrupting = True

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, replaced when it dies."""

    def __init__(self, threads: int, environment: dict[str, str]) -> None:
        self._threads = threads
        self._environment = environment | {name: str(threads) for name in THREADS}
        self._pool: ProcessPoolExecutor | None = None
        self._pid: Future[int] | None = None
        self.job: Job | None = None
        self.future: Future[Outcome] | None = None

    def start(self, job: Job, run_trial: RunTrial) -> None:
        self.job = job
        try:
            self.future = self._ready().submit(run_job, job, run_trial)
        except BrokenProcessPool:  # it died while it was idle
            self._forget()
            self.future = self._ready().submit(run_job, job, run_trial)

    def _ready(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=initialise,
                initargs=(self._threads,),
            )
            with _environment(self._environment):  # inherited: libraries read it when they are imported
                self._pid = self._pool.submit(os.getpid)
        return self._pool

    def take(self) -> tuple[Job, Outcome]:
        assert self.job is not None
        assert self.future is not None
        job, future = self.job, self.future
        self.job = self.future = None
        try:
            return job, future.result()
        except (BrokenProcessPool, concurrent.futures.CancelledError):
            self._end()  # what it had started
            self._forget()
            return job, Outcome("lost", "killed by the system (out of memory?)")

    def signal(self, number: int) -> None:
        if self._pid is not None and self._pid.done() and self._pid.exception() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid.result(), number)

    def close(self) -> None:
        if self._pool is not None:
            self._end()
        self._forget()

    def _end(self) -> None:
        if self._pid is not None and self._pid.done() and self._pid.exception() is None:
            end_group(self._pid.result())

    def _forget(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._pid = None


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    saved = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
