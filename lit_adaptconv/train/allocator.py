"""Memory on the CPU: what a training step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings in its `malloc.h`: how much free memory, and how large blocks, the system gets back."""
LARGEST_BLOCKS = 2**30, 2**25
"""The latter is what glibc before 2.35 takes at most."""
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to a gibibyte, or of 32 MiB where it is old.

    Otherwise it gives them back to the system, and every page of the next step's activations is a page fault. Where
    there is no glibc, or the environment has settings of its own, nothing is done.
    """
    chosen = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys()
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(MMAP_THRESHOLD, size) for size in LARGEST_BLOCKS):
        mallopt(TRIM_THRESHOLD, LARGEST_INT)
