"""The profiler of a training that is not profiled."""

from __future__ import annotations

import contextlib

from lightning.pytorch.profilers import PassThroughProfiler

NOTHING = contextlib.nullcontext()


class NoProfiler(PassThroughProfiler):
    """Measures nothing, and makes nothing for it: Lightning asks some eighty times a step."""

    def profile(self, action_name: str) -> contextlib.nullcontext[None]:  # type: ignore[override]
        """Return a context in which nothing is measured."""
        return NOTHING
