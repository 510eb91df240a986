"""What happens in the process that runs a trial."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_adaptconv.errors import DivergedError
from lit_adaptconv.files import open_regular
from lit_adaptconv.sweep.engines.base import Job, Outcome, RunTrial
from lit_adaptconv.train.runs import CHECKPOINTS

LOG = "log.txt"


def run_job(job: Job, run_trial: RunTrial) -> Outcome:
    """Run a trial in its folder, its output in `log.txt` there, and say how it ended. Nothing is raised."""
    begin = time.perf_counter()
    outcome = _run(job, run_trial)
    gc.collect()
    return replace(outcome, seconds=time.perf_counter() - begin)


def _run(job: Job, run_trial: RunTrial) -> Outcome:
    folder = job.folder
    try:
        with _alone(folder), _logged(folder / LOG):
            try:
                if not job.resume:
                    begin_anew(folder)
                with _interruptible():
                    run_trial(folder)
            except BaseException:
                traceback.print_exc()
                raise
        return Outcome("done")
    except KeyboardInterrupt:
        return Outcome("interrupted", "interrupted by the user")
    except SIGTERMException:
        return Outcome("interrupted", "interrupted by the signal SIGTERM")
    except SystemExit as exit:
        if isinstance(exit.__context__, KeyboardInterrupt):  # Lightning's own answer to an interruption
            return Outcome("interrupted", "interrupted by the user")
        return Outcome("failed", f"exit status {exit.code}: {last_line(folder / LOG)}")
    except DivergedError as error:
        return Outcome("diverged", reason_of(error))
    except Exception as error:
        return Outcome("failed", reason_of(error))


def begin_anew(folder: Path) -> None:
    """Make the folder that of a trial which has not begun."""
    for name in ("result.json", "metrics.csv", *map(str, CHECKPOINTS.values())):
        (folder / name).unlink(missing_ok=True)


def reason_of(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if not line.startswith(("Traceback", " ", "SystemExit"))), "")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt while a trial runs; Lightning leaves it ignored after an interruption."""
    try:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not the main thread: the engine has its own way to interrupt
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send all output, that of libraries below Python too, to a file."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # it may be closed
                stream.flush()
    saved = [os.dup(1), os.dup(2)]
    with open_regular(path, "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            with (
                open(1, "w", closefd=False) as out,
                open(2, "w", closefd=False) as err,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                yield
        finally:
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for the process of an earlier, killed sweep that has not noticed yet."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open_regular(folder / ".lock", "ab") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_group(pid: int) -> None:
    """Kill a worker, and the processes that it has started for a trial."""
    number = getattr(signal, "SIGKILL", signal.SIGTERM)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number) if hasattr(os, "killpg") else os.kill(pid, number)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it may not lead its group yet
        os.kill(pid, number)


def initialise(threads: int) -> None:
    """Prepare a worker process: its threads, its signals, and that it ends with the process that started it."""
    import multiprocessing
    import threading
    from multiprocessing.connection import wait

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):  # Ctrl-C in the terminal reaches the sweep alone, which passes it on
        os.setpgid(0, 0)
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        end_group(os.getpid())

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
