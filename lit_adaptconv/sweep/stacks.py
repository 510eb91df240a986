"""Trials that are trained together as one stacked network: which, how many, and how they go on after a kill.

Trials can share a stack if they differ in their seeds, and in the optimizer's learning rate and weight decay, alone.
A stack has a folder of its own, in `stacks`. Its trials' folders are those that they have when they are trained alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import read_text, write_text
from lit_adaptconv.records import record
from lit_adaptconv.sweep.engines import Outcome
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.checkpoint import STAGED
from lit_adaptconv.train.runs import CHECKPOINTS

STACKS = "stacks"
FILE = "stack.json"
MAY_DIFFER = ("lr", "weight_decay")
"""Arguments of the optimizer in which the trials of a stack may differ."""


@dataclass
class Stack:
    """What stands in a stack's folder.

    Attributes:
        members: Folders of its trials, below the sweep's folder.
        staged: Those whose new checkpoint is complete, but has perhaps not taken the place of the old one.
        alone: Why they are trained one by one after all; None if they are not.
        ends: How those that had ended at the last checkpoint did, by folder; the others go back to it after a kill.
    """

    members: tuple[str, ...]
    staged: tuple[str, ...] = ()
    alone: str | None = None
    ends: dict[str, Outcome] = field(default_factory=dict)

    @property
    def active(self) -> tuple[str, ...]:
        """Those that have not ended; none once the stack has."""
        return tuple(name for name in self.members if name not in self.ends)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return hashlib.sha256("\n".join(self.members).encode()).hexdigest()[:12]

    @classmethod
    def read(cls, folder: Path) -> Stack:
        """Read it.

        Raises:
            UserError: There is none, or it is damaged.
        """
        try:
            return record(cls, json.loads(read_text(folder / FILE)))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{folder / FILE} can't be read: {error}") from None

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_text(folder / FILE, json.dumps(asdict(self)) + "\n")


def key_of(config: Mapping[str, Any]) -> str:
    """What the trials of a stack have in common: their configuration without what may differ."""
    common = deepcopy({name: value for name, value in config.items() if name not in ("seed_everything", "run")})
    arguments = ((common.get("model") or {}).get("optimizer") or {}).get("init_args") or {}
    for name in MAY_DIFFER:
        arguments.pop(name, None)
    return json.dumps([common, config["run"]["test"]], sort_keys=True, default=str)


def unfinished(folder: Path) -> list[Stack]:
    """The stacks of a sweep's folder that have not ended."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in sorted((folder / STACKS).iterdir()):
            with contextlib.suppress(UserError):
                stack = Stack.read(path)
                if stack.active:
                    found.append(stack)
    return found


def commit(folder: Path, sweep: Path, stack: Stack, ends: Mapping[str, Outcome]) -> None:
    """Let the new checkpoints of all trials take the place of the old ones: those of all, or of none after a kill.

    Args:
        folder: The stack's folder.
        sweep: The sweep's folder.
        stack: The stack; what it holds is brought up to date.
        ends: How the trials that have ended did.
    """
    staged = tuple(name for name in stack.members if _staged(sweep / name).exists())
    if not staged:
        return
    stack.staged = staged
    stack.ends |= ends
    stack.write(folder)
    _exchange(sweep, staged)
    stack.staged = ()  # before the next ones are begun
    stack.write(folder)


def recover(sweep: Path, stack: Stack) -> None:
    """Finish what a kill has interrupted, and forget checkpoints that not all trials had reached."""
    _exchange(sweep, stack.staged)
    for name in stack.members:
        _staged(sweep / name).unlink(missing_ok=True)


def _exchange(sweep: Path, names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            _staged(sweep / name).replace(sweep / name / CHECKPOINTS["last"])


def _staged(folder: Path) -> Path:
    last = folder / CHECKPOINTS["last"]
    return last.with_name(last.name + STAGED)


class Stacker:
    """Decides which of the trials that wait are trained together.

    Args:
        folder: The sweep's folder.
        group: Name of the folder of a trial in it.
        config: Makes the config of a trial.
        size: The largest number of trials in a stack with this one.
    """

    def __init__(
        self,
        folder: Path,
        group: Callable[[Trial], str],
        config: Callable[[Trial], dict[str, Any]],
        size: Callable[[Trial], int],
    ) -> None:
        self._folder = folder
        self._group = group
        self._config = config
        self._size = size
        self._unfinished = {name: stack for stack in unfinished(folder) for name in stack.members}
        self._keys: dict[str, str] = {}

    def name(self, trial: Trial) -> str:
        """A trial's folder below the sweep's."""
        return f"{self._group(trial)}/{trial.id}"

    def take(
        self, first: Trial, waiting: deque[Trial], is_new: Callable[[Trial], bool]
    ) -> tuple[Stack, list[Trial]] | None:
        """The stack of a trial whose turn it is; what else belongs to it no longer waits.

        Args:
            first: The trial.
            waiting: Those that wait.
            is_new: Whether a trial has not begun.

        Returns:
            The stack and those of its trials that are to be run, or None if the trial is trained alone.
        """
        stack = self._unfinished.get(self.name(first))
        if stack is not None:
            members = [first, *(trial for trial in waiting if self.name(trial) in stack.members)]
        else:
            most = self._size(first) if is_new(first) else 1
            if most < 2:
                return None
            key = self._key(first)
            alike = (t for t in waiting if t.impossible is None and self._key(t) == key and is_new(t))
            members = [first, *itertools.islice(alike, most - 1)]
            if len(members) < 2:
                return None
            members.sort(key=lambda trial: json.dumps(trial.tuned, sort_keys=True))  # the same settings side by side
            stack = Stack(tuple(map(self.name, members)))
        for trial in members:
            if trial is not first:
                waiting.remove(trial)
        return stack, members

    def remember(self, stack: Stack) -> None:
        """Know a stack that has begun: its trials are started again together."""
        self._unfinished.update(dict.fromkeys(stack.members, stack))

    def has_begun(self, stack: Stack) -> bool:
        """Whether a stack goes on, rather than begins."""
        return stack.members[0] in self._unfinished

    def forget(self, stack: Stack) -> None:
        """Know that a stack has ended."""
        for name in stack.members:
            self._unfinished.pop(name, None)

    def _key(self, trial: Trial) -> str:
        if trial.id not in self._keys:
            self._keys[trial.id] = key_of(self._config(trial))
        return self._keys[trial.id]
