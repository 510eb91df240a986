"""Launching a kernel again and again for the same shapes, without Triton's Python in between."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from triton.runtime import driver

ALIGNED = 16  # bytes: Triton compiles for tensors that begin at a multiple of this, and for others


class Launch:
    """A kernel with all its arguments but the tensors, which come first.

    Triton works out from the arguments which of its compiled forms to launch. That depends, beside the arguments held
    here, on where the tensors begin alone, so that it is asked once for each such case.
    """

    def __init__(self, kernel: Any, programs: int, numbers: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._kernel, self._grid = kernel, (programs, 1, 1)
        self._numbers, self._options = numbers, options
        constants = [name for name in kernel.arg_names if name in options]
        self._rest = (*numbers, *(options[name] for name in constants))
        self._launchers: dict[tuple[int, ...], Any] = {}
        self._lock = Lock()

    def __call__(self, *tensors: Tensor) -> None:
        """Launch it."""
        key = (tensors[0].get_device(), *[t.data_ptr() % ALIGNED for t in tensors])
        launcher = self._launchers.get(key)
        if launcher is not None:
            launcher(*tensors, *self._rest, stream=driver.active.get_current_stream(key[0]))
            return
        if tensors[0].is_meta:
            _compilers().submit(self._compile, tensors, torch.cuda.current_device())
            return
        with self._lock:  # it may be being compiled
            compiled = self._kernel[self._grid](*tensors, *self._numbers, **self._options)
        if compiled is not None:  # under the interpreter, which compiles nothing, it is
            self._launchers[key] = compiled[self._grid]

    def _compile(self, tensors: tuple[Tensor, ...], device: int) -> None:
        """Compile the kernel; what fails here fails again where it is launched."""
        with torch.cuda.device(device), self._lock:
            self._kernel.run(*tensors, *self._numbers, **self._options, grid=self._grid, warmup=True)


@cache
def _compilers() -> ThreadPoolExecutor:
    """Threads in which kernels are compiled: nearly all of it is done by compilers that let other threads run."""
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="triton")


def without_memory(tensor: Tensor) -> Tensor:
    """Such a tensor on the device "meta"."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's GPU the current one, if it is another."""
    index = tensor.get_device()
    here = index < 0 or index == torch.cuda.current_device()
    return nullcontext() if here else torch.cuda.device(index)
