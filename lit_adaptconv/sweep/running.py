"""One trial of a sweep: an ordinary `adaptconv fit` with the config in the trial's folder.

It runs in the worker itself, which is warm. Where several devices train one trial, it runs in a process of its own:
Lightning starts the others by running the command of that process again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import wandb

from lit_adaptconv.errors import DivergedError, UserError
from lit_adaptconv.sweep.devices import processes
from lit_adaptconv.sweep.engines import Job, Outcome
from lit_adaptconv.sweep.engines.worker import LOG, begin_anew, last_line, reason_of, run_job
from lit_adaptconv.sweep.stacks import FILE as STACK
from lit_adaptconv.sweep.stacks import Stack, commit, recover
from lit_adaptconv.train.config_file import read_yaml
from lit_adaptconv.train.quiet import quieten
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG
from lit_adaptconv.train.stacked.training import NotTogetherError, train_together
from lit_adaptconv.train.tracking import give_up, has_given_up
from lit_adaptconv.train.training import Training

DIVERGED = 4
"""Exit status of the process of a trial whose loss was not finite."""
OFFLINE = ".offline"
"""File in a sweep's folder: its trials do not try to reach Weights & Biases."""


def run_trial(folder: Path) -> None:
    """Train and test, from the last checkpoint where there is one.

    Args:
        folder: The trial's folder, or that of a stack of trials.
    """
    quieten()
    offline = folder.parents[1] / OFFLINE
    if offline.exists():
        give_up()
    try:
        if (folder / STACK).exists():
            _train_stack(folder)
        elif processes(_config(folder)["trainer"], torch.cuda.device_count()) > 1:
            _run_command(folder)
            _keep_last(folder)
        else:
            _train(folder)
            _keep_last(folder)
    finally:
        if wandb.run is not None:  # of a trial that failed: the next one must not log into its run
            wandb.finish(exit_code=1)
        if has_given_up():
            with contextlib.suppress(OSError):
                offline.touch()


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_yaml((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def _keep_last(folder: Path) -> None:
    """Keep the finished model, which was tested, and no other checkpoint; of a trial of tuning none."""
    last, tested = folder / CHECKPOINTS["last"], _config(folder)["run"]["test"]
    for checkpoint in last.parent.glob("*.ckpt"):
        if checkpoint != last or not tested:
            checkpoint.unlink()


def _train_stack(folder: Path) -> None:
    """Train the trials of a stack together, from their last common checkpoints where there are some.

    Where that can't be done, they are trained one by one.
    """
    sweep, stack = folder.parents[1], Stack.read(folder)
    recover(sweep, stack)
    try:
        if stack.alone is None:
            names = stack.active

            def ends_of(errors: Mapping[int, BaseException | None]) -> dict[str, Outcome]:
                return {names[number]: _end_of(error) for number, error in errors.items()}

            errors = train_together(
                [_arguments(sweep / name) for name in names],
                lambda ended: commit(folder, sweep, stack, ends_of(ended)),
            )
            stack.ends |= ends_of(errors)
    except NotTogetherError as error:
        stack.alone = str(error)
        for name in stack.active:
            begin_anew(sweep / name)
        stack.write(folder)
    if stack.alone is not None:
        for name in stack.active:
            outcome = run_job(Job(name, sweep / name, resume=True), run_trial)
            if outcome.status == "interrupted":
                raise KeyboardInterrupt
            stack.ends[name] = outcome
            stack.write(folder)
    for name, end in stack.ends.items():
        if end.status == "done":
            _keep_last(sweep / name)
    stack.write(folder)


def _end_of(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome("done")
    return Outcome("diverged" if isinstance(error, DivergedError) else "failed", reason_of(error))


def _run_command(folder: Path) -> None:
    """Train in a process of its own, and raise what would have been raised here.

    Raises:
        DivergedError: The loss was not finite.
        KeyboardInterrupt: It was interrupted.
        SystemExit: It ended with an error, which is the last line of its log.
    """
    found_where = os.pathsep.join(filter(None, sys.path))  # a class of the user's own, perhaps beside a script
    offline = {"WANDB_MODE": "offline"} if has_given_up() else {}
    command = subprocess.Popen(
        [sys.executable, "-m", "lit_adaptconv.sweep.running", str(folder)],
        env={**os.environ, "PYTHONPATH": found_where, **offline},
    )
    try:
        status = command.wait()
    except BaseException:
        command.send_signal(signal.SIGINT)  # it writes what it has
        command.wait()
        raise
    result = None
    with contextlib.suppress(UserError):  # a training that has not begun has none
        result = RunResult.read(folder / "result.json")
    if status == DIVERGED:
        raise DivergedError(last_line(folder / LOG))
    if status != 0 and result is not None and result.status == "interrupted":
        raise KeyboardInterrupt
    if status != 0:
        sys.exit(status)


def _train(folder: Path) -> None:
    """Train and test, in this process."""
    Training(_arguments(folder))


def _arguments(folder: Path) -> dict[str, Any]:
    """What `fit` is given to train the trial in a folder, from its last checkpoint."""
    return {"subcommand": "fit", "fit": {**_config(folder), "ckpt_path": str(folder / CHECKPOINTS["last"])}}


def main() -> None:
    """Run the trial in the folder that the command line names."""
    quieten()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker that ignores it has passed that on
    try:
        _train(Path(sys.argv[1]))
    except DivergedError as error:
        print(error, file=sys.stderr)
        sys.exit(DIVERGED)


if __name__ == "__main__":
    main()
