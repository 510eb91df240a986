"""PyTorch's own OpenMP threads, for other work than PyTorch's.

After a parallel loop, OpenMP's threads stay awake for some milliseconds, in wait for the next one. Threads of our own
would share the cores with them: after an ordinary convolution on two cores, half of the gain of the second was lost.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

MAPS = Path("/proc/self/maps")
RUNTIMES = ("libgomp", "libiomp5", "libomp")  # all have GNU's entry point
_forked = False


def _forget_threads() -> None:
    global _forked
    _forked = True


# In a forked child OpenMP waits forever for threads that only the parent has.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def on_openmp_threads(threads: int, work: Callable[[], None]) -> bool:
    """Call `work` once on each of `threads` threads of PyTorch's OpenMP, the caller's among them.

    OpenMP may give fewer threads. What `work` raises is raised here, once all are done.

    Returns:
        False if that is not possible here, and nothing was done.
    """
    parallel = None if _forked else _gomp_parallel()
    if parallel is None:
        return False
    raised: list[BaseException] = []

    def call(_: int | None) -> None:
        try:
            work()
        except BaseException as error:  # Ctrl-C as well: ctypes would print it and go on
            raised.append(error)

    parallel(_CALLBACK(call), None, threads, 0)
    if raised:
        raise raised[0]
    return True


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@lru_cache(maxsize=1)
def _gomp_parallel() -> Callable[..., Any] | None:
    """`GOMP_parallel(function, argument, threads, flags)` of the OpenMP that PyTorch uses, where that is certain."""
    if not MAPS.exists():
        return None
    paths = {line.split(maxsplit=5)[5].strip() for line in MAPS.read_text().splitlines() if line.count(" ") > 5}
    runtimes = {path for path in paths if Path(path).name.startswith(RUNTIMES)}
    torchs = {path for path in runtimes if {"torch", "torch.libs"} & set(Path(path).parts)} or runtimes
    if len(torchs) != 1:
        return None
    try:
        parallel: Any = ctypes.CDLL(torchs.pop()).GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = (_CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return parallel  # type: ignore[no-any-return]
