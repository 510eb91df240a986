"""Triton's view of GPUs that need not be there, for its compiler alone."""

from __future__ import annotations

import itertools

from triton.backends.compiler import GPUTarget

TARGETS = {
    "sm_75": GPUTarget("cuda", 75, 32),
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx90a": GPUTarget("hip", "gfx90a", 64),
}
DEVICES = itertools.count(1000)  # Triton remembers what it compiled for each


class NoGPU:
    """Triton's view of a GPU, for its compiler alone."""

    def __init__(self, target: GPUTarget) -> None:
        self._target, self._device = target, next(DEVICES)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return self._device

    def get_current_stream(self, device: int) -> int:
        return 0
