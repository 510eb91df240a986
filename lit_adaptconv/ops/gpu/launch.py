"""Launching a kernel again and again for the same shapes, without Triton's Python in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, thread
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from triton.runtime import driver

ALIGNED = 16  # bytes: Triton compiles for tensors that begin at a multiple of this, and for others; so for numbers
COMPILERS = 4  # kernels that are compiled at a time, at most


class Launch:
    """A kernel with all its arguments but the tensors, which come first.

    Triton works out from the arguments which of its compiled forms to launch. That depends, beside the arguments held
    here, on where the tensors begin alone, so that it is asked once for each such case. For tensors without memory, on
    the device "meta", the kernel is compiled and not launched.
    """

    def __init__(self, kernel: Any, programs: int, numbers: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._kernel, self._grid = kernel, (programs, 1, 1)
        self._numbers, self._options = numbers, options
        constants = [name for name in kernel.arg_names if name in options]
        self._rest = (*numbers, *(options[name] for name in constants))
        self._launchers: dict[tuple[int, ...], Any] = {}
        self._form = _form(kernel, frozenset(options.items()), _told_apart(numbers))

    def __call__(self, *tensors: Tensor) -> None:
        """Launch it."""
        key = (tensors[0].get_device(), *[t.data_ptr() % ALIGNED for t in tensors])
        launcher = self._launchers.get(key)
        if launcher is not None:
            launcher(*tensors, *self._rest, stream=driver.active.get_current_stream(key[0]))
            return
        if tensors[0].is_meta:
            self._compile_beside(tensors)
            return
        with self._form.lock:  # it may be being compiled
            compiled = self._kernel[self._grid](*tensors, *self._numbers, **self._options)
        if compiled is not None:  # under the interpreter, which compiles nothing, it is
            self._launchers[key] = compiled[self._grid]

    def _compile_beside(self, tensors: tuple[Tensor, ...]) -> None:
        """Let the kernel be compiled in a thread; what fails there fails again where it is launched."""
        if not self._form.begun:
            self._form.begun = True
            with suppress(RuntimeError):  # no thread can be started, or the interpreter is ending
                _compilers().submit(self._compile, tensors, torch.cuda.current_device())

    def _compile(self, tensors: tuple[Tensor, ...], device: int) -> None:
        if not thread._shutdown:  # else the program is ending and only waits for what is queued
            with torch.cuda.device(device), self._form.lock:
                self._kernel.run(*tensors, *self._numbers, **self._options, grid=self._grid, warmup=True)


def _told_apart(number: Any) -> Any:
    """What Triton compiles for in a number, or in a tuple of numbers."""
    if isinstance(number, tuple):
        return tuple(map(_told_apart, number))
    return number == 1, number % ALIGNED == 0, number.bit_length() > 31


class _Form:
    """One of a kernel's compiled forms: whoever needs it waits for whoever compiles it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.begun = False


@lru_cache(maxsize=4096)
def _form(kernel: Any, options: frozenset[tuple[str, Any]], numbers: Any) -> _Form:
    return _Form()


@cache
def _compilers() -> ThreadPoolExecutor:
    """Threads in which kernels are compiled: nearly all of it is done by compilers that let other threads run."""
    return ThreadPoolExecutor(COMPILERS, thread_name_prefix="triton")


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's GPU the current one, if it is another."""
    index = tensor.get_device()
    here = index < 0 or index == torch.cuda.current_device()
    return nullcontext() if here else torch.cuda.device(index)
