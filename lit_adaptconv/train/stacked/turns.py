"""Trainings that take turns: each runs in a thread of its own, one at a time, until it asks for something."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

SEED = "PL_GLOBAL_SEED"
"""Environment variable in which Lightning keeps the seed."""


class Turn:
    """One of several trainings of a process, that does not know of the others.

    While it waits, the states of the global random generators, and the seed, are kept for it.

    Args:
        run: What it does; it is given a function that asks: its turn ends until there is an answer.
    """

    def __init__(self, run: Callable[[Callable[[Any], Any]], None]) -> None:
        self.request: Any = None
        self.over = False
        self.error: BaseException | None = None
        self.state = GlobalState.now()
        self._answer: Any = None
        self._raise: BaseException | None = None
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._begun = False

    def go(self, answer: Any = None, error: BaseException | None = None) -> None:
        """Let it go on until it asks for something else, or has ended.

        Args:
            answer: The answer to its request.
            error: What is raised in it instead.

        Raises:
            KeyboardInterrupt: The user interrupted meanwhile; it has ended its turn all the same.
        """
        self._answer, self._raise, self.request = answer, error, None
        before = GlobalState.now()
        self.state.set()
        interrupted: KeyboardInterrupt | None = None
        if self._begun:
            self._mine.release()
        else:
            self._begun = True
            self._thread.start()
        while True:
            try:
                self._theirs.acquire()
                break
            except KeyboardInterrupt as error:
                interrupted = error
        if self.over:
            self._thread.join()
        self.state = GlobalState.now()
        before.set()
        if interrupted is not None:
            raise interrupted

    def end(self, error: BaseException) -> None:
        """Let it come to its end by an error, which is raised whenever it asks for something; its thread ends, too."""
        while self._begun and not self.over:
            with contextlib.suppress(KeyboardInterrupt):
                self.go(error=error)

    def _run(self, run: Callable[[Callable[[Any], Any]], None]) -> None:
        try:
            run(self._ask)
        except BaseException as error:  # the process goes on with the others
            self.error = error
        self.over = True
        self._theirs.release()

    def _ask(self, request: Any) -> Any:
        self.request = request
        self._theirs.release()
        self._mine.acquire()
        if self._raise is not None:
            raise self._raise
        return self._answer


class GlobalState:
    """The states of the global random generators, and the seed that Lightning remembers."""

    def __init__(self, python: Any, numpy: Any, torch_cpu: torch.Tensor, cuda: Any, seed: str | None) -> None:
        self.python = python
        self.numpy = numpy
        self.torch = torch_cpu
        self.cuda = cuda
        self.seed = seed

    @classmethod
    def now(cls) -> GlobalState:
        """The states as they are."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        numpy = np.random.get_state()  # noqa: NPY002 (the global generator is meant)
        return cls(random.getstate(), numpy, torch.get_rng_state(), cuda, os.environ.get(SEED))

    def set(self) -> None:
        """Set them."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.seed is None:
            os.environ.pop(SEED, None)
        else:
            os.environ[SEED] = self.seed

    def on(self, device: torch.device) -> torch.Tensor:
        """The state of PyTorch's generator of a device."""
        if device.type == "cuda" and self.cuda is not None:
            state: torch.Tensor = self.cuda[device.index or 0]
            return state
        return self.torch

    def put(self, device: torch.device, state: torch.Tensor) -> None:
        """Replace the state of PyTorch's generator of a device."""
        if device.type == "cuda" and self.cuda is not None:
            self.cuda[device.index or 0] = state
        else:
            self.torch = state
