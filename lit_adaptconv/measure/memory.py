"""Memory of a training step: what is kept for backward, and the peak."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.candidate import Candidate, Shape, Step

CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")
RETURN_MEMORY = 65536
"""Freed blocks from this size on, in bytes, go back to the system, so that the resident set shows what is in use."""


@dataclass(frozen=True)
class KeptBytes:
    """Bytes of the tensors that autograd keeps for backward, each storage counted once.

    Attributes:
        input: The layer's input.
        parameters: Its parameters.
        other: Everything that would not be there without autograd.
    """

    input: int
    parameters: int
    other: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.input + self.parameters + self.other


def kept_for_backward(step: Step) -> KeptBytes:
    """Run forward and count what autograd saves."""
    seen: dict[int, Tensor] = {}  # keeps them alive, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.detach()
        return tensor

    with step.candidate.running(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step.layer(step.input)
    parameters = {p.untyped_storage().data_ptr() for p in step.layer.parameters()}
    input = step.input.untyped_storage().data_ptr()

    def total(addresses: set[int]) -> int:
        return sum(seen[address].untyped_storage().nbytes() for address in addresses)

    return KeptBytes(
        input=total(seen.keys() & {input}),
        parameters=total(seen.keys() & parameters),
        other=total(seen.keys() - parameters - {input}),
    )


def peak_of_steps(candidates: list[Candidate], shape: Shape, threads: int) -> list[int | None]:
    """Peak memory of a training step of each candidate in bytes: input, parameters, output and all gradients included.

    On CUDA it is the most that PyTorch's allocator had allocated at once. On the CPU, buffers of other libraries count
    too: a process of its own measures by how much a training step raises the high-water mark of its resident set, after
    a first step that is not counted (it loads code). That needs Linux; elsewhere it is None.

    Raises:
        UserError: The process that measures failed.
    """
    if shape.device != "cpu":
        return [_cuda_peak(candidate, shape) for candidate in candidates]
    if not CLEAR_REFS.exists():
        return [None] * len(candidates)
    work = {"threads": threads, "shape": asdict(shape), "candidates": [asdict(c) for c in candidates]}
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": str(RETURN_MEMORY),
        "MALLOC_TRIM_THRESHOLD_": str(RETURN_MEMORY),
    }
    child = subprocess.run(
        [sys.executable, "-m", "lit_adaptconv.measure.memory"],
        input=json.dumps(work),
        env=environment,
        capture_output=True,
        text=True,
    )
    if child.returncode != 0:
        raise UserError(f"the process that measures memory failed: {child.stderr.strip().splitlines()[-1:]}")
    peaks: list[int | None] = json.loads(child.stdout.splitlines()[-1])
    return peaks


def _cuda_peak(candidate: Candidate, shape: Shape) -> int:
    Step.of(candidate, shape).training()
    gc.collect()
    before = torch.cuda.memory_allocated(shape.device)
    torch.cuda.reset_peak_memory_stats(shape.device)
    Step.of(candidate, shape).training()
    return torch.cuda.max_memory_allocated(shape.device) - before


def _resident_peak(candidate: Candidate, shape: Shape) -> int:
    for _ in range(2):
        Step.of(candidate, shape).training()
        gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    CLEAR_REFS.write_text("5")  # lowers the high-water mark to the present
    before = _resident("VmHWM")
    Step.of(candidate, shape).training()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _measure() -> None:
    """Read the work from standard input, and write the peaks to standard output."""
    work: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(work["threads"])
    fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in work["shape"].items()}
    shape = Shape(**fields)
    print(json.dumps([_resident_peak(Candidate(**candidate), shape) for candidate in work["candidates"]]))


if __name__ == "__main__":
    _measure()
