"""Tasks on as many threads as PyTorch uses."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from lit_adaptconv.ops.cpu.openmp import on_openmp_threads

SLICES = 4  # for each thread, so that one which starts late or is interrupted holds up the others little

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}

# A forked child has the parent's pools, but none of their threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def run_tasks(tasks: int, work: Callable[[int, int], None]) -> None:
    """Call `work(first, last)` for consecutive parts of `range(tasks)`, on `torch.get_num_threads()` threads.

    They are PyTorch's OpenMP threads where these can be reached, else a pool that concurrent callers may share. The
    caller's thread is one of them. `work` must release the GIL to gain.
    """
    threads = torch.get_num_threads()
    if threads <= 1 or tasks <= 1:
        work(0, tasks)
        return
    slices = min(tasks, threads * SLICES)
    counter = itertools.count()

    def take() -> None:
        # next() on a count is atomic: each slice is taken once.
        while (index := next(counter)) < slices:
            work(index * tasks // slices, (index + 1) * tasks // slices)

    if on_openmp_threads(threads, take):
        return
    pool = _pool(threads - 1)
    others = [pool.submit(take) for _ in range(threads - 1)]
    take()
    for other in others:
        other.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="adaptive_conv2d")
        return _pools[threads]
