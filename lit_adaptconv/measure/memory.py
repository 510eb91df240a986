"""Memory of a training step: what is kept for backward, and the peak; and the peak of any call."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
        step.run(step.input)
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
    a first step that is not counted (it loads code). That needs Linux; elsewhere, and for compiled layers, whose
    compiler needs memory itself, it is None.

    Raises:
        UserError: The process that measures failed.
    """
    if shape.compile:
        return [None] * len(candidates)
    if shape.device != "cpu":
        return [_cuda_peak(candidate, shape) for candidate in candidates]
    if not CLEAR_REFS.exists():
        return [None] * len(candidates)
    peaks: list[int | None] = in_a_process("lit_adaptconv.measure.memory", (candidates, shape, threads))
    return peaks


def in_a_process(module: str, given: object) -> Any:
    """Let a module measure memory in a process of its own, in which what is freed goes back to the system.

    Args:
        module: It reads pickled `given` from its input, and ends with a line of JSON.
        given: What it is given.

    Raises:
        UserError: The process failed.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # where a kind of one's own may be
        **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(RETURN_MEMORY)),
    }
    child = subprocess.run(
        [sys.executable, "-m", module], input=pickle.dumps(given), env=environment, capture_output=True
    )
    if child.returncode != 0:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(f"the process that measures memory failed: {' '.join(last)}")
    return json.loads(child.stdout.splitlines()[-1])


def _train(candidate: Candidate, shape: Shape) -> None:
    Step.of(candidate, shape).training()


def _cuda_peak(candidate: Candidate, shape: Shape) -> int:
    _train(candidate, shape)
    gc.collect()
    before = torch.cuda.memory_allocated(shape.device)
    torch.cuda.reset_peak_memory_stats(shape.device)
    _train(candidate, shape)
    return torch.cuda.max_memory_allocated(shape.device) - before


def resident_peak(call: Callable[[], object]) -> int:
    """Bytes by which a call raises the high-water mark of the resident set, after two calls that load its code."""
    for _ in range(2):
        call()
        gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    CLEAR_REFS.write_text("5")  # lowers the high-water mark to the present
    before = _resident("VmHWM")
    call()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    candidates, shape, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    print(json.dumps([resident_peak(partial(_train, candidate, shape)) for candidate in candidates]))
