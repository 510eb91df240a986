"""Measure candidates beside `nn.Conv2d`, and the arithmetic limit beside both."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from lit_adaptconv.measure.candidate import STANDARD, Candidate, Shape, Step
from lit_adaptconv.measure.count import TRAINING_FACTOR, forward_flops
from lit_adaptconv.measure.environment import versions
from lit_adaptconv.measure.memory import Kept, kept_for_backward, peak_of_steps
from lit_adaptconv.measure.parts import VARIANTS, Part, can_be_split, split
from lit_adaptconv.measure.timing import MATRIX_FLOPS, Task, Times, in_turns, matrix_product

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Timed:
    """Times of a layer on some number of threads.

    Attributes:
        threads: CPU threads.
        forward: Forward pass, without gradients.
        training: Forward and backward, to the gradients of the input and all parameters.
    """

    threads: int
    forward: Times
    training: Times


@dataclass(frozen=True)
class Measured:
    """One layer.

    Attributes:
        candidate: What was measured.
        parameters: Trainable parameters.
        flops: FLOPs of the forward pass of the batch, a multiply-add counting two.
        kept: Bytes kept for backward.
        peak: Peak memory of a training step in bytes, or None where it cannot be measured.
        timed: Times, one for each number of threads.
    """

    candidate: Candidate
    parameters: int
    flops: int
    kept: Kept
    peak: int | None
    timed: tuple[Timed, ...]


@dataclass(frozen=True)
class Limit:
    """How fast a large matrix product is on some number of threads."""

    threads: int
    product: Times

    @property
    def flops_per_second(self) -> float:
        """Its speed, from the median time."""
        return MATRIX_FLOPS / self.product.spread.median

    def training_seconds(self, layer: Measured) -> float:
        """Time that the three products of a training step would take at this speed."""
        return TRAINING_FACTOR * layer.flops / self.flops_per_second


@dataclass(frozen=True)
class Split:
    """The parts of a layer's training step on one number of threads."""

    candidate: Candidate
    threads: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        device: Name of the CPU or GPU.
        cores: CPU cores that the process may use.
        system: Operating system.
        load: Load average of the last minute when measuring began; above the number of threads, others were busy.
        versions: Versions of Python and packages.
    """

    device: str
    cores: int
    system: str
    load: float | None
    versions: dict[str, str]

    @classmethod
    def here(cls, device: str) -> Machine:
        """Describe this machine."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        numba = {"numba": importlib.metadata.version("numba")}
        name = _processor() if device == "cpu" else torch.cuda.get_device_name(device)
        return cls(name, _cores(), platform.platform(), load, versions() | numba)


@dataclass(frozen=True)
class Benchmark:
    """All that a run of `adaptconv bench` found; the first layer is `nn.Conv2d`."""

    shape: Shape
    rounds: int
    machine: Machine
    limits: tuple[Limit, ...]
    layers: tuple[Measured, ...]
    splits: tuple[Split, ...]

    def to_json(self) -> str:
        """Everything, times of every round included."""
        return json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, indent=1, ensure_ascii=False)


def prepare(candidates: Sequence[Candidate], shape: Shape) -> list[Step]:
    """Build `nn.Conv2d` and the candidates, and run each once.

    Raises:
        UserError: One cannot compute this shape.
    """
    return [Step.of(candidate, shape) for candidate in (STANDARD, *candidates)]


def turns(steps: Sequence[Step], threads: Sequence[int], rounds: int) -> int:
    """How often `measure` calls `advance`."""
    variants = VARIANTS * sum(map(can_be_split, steps))
    return len(threads) * rounds * (1 + 2 * len(steps) + variants)


def measure(
    steps: Sequence[Step],
    shape: Shape,
    threads: Sequence[int],
    rounds: int,
    advance: Callable[[], None] = lambda: None,
) -> Benchmark:
    """Measure layers.

    Args:
        steps: From `prepare`.
        shape: Their shape.
        threads: On how many CPU threads, one after another in every round.
        rounds: How often each time is taken, all in turns.
        advance: Called after every turn.

    Raises:
        UserError: The process that measures memory failed.
    """
    machine = Machine.here(shape.device)
    peaks = peak_of_steps([step.candidate for step in steps], shape, max(threads))
    product = matrix_product(shape)
    tasks = [
        Task(call, number)
        for number in threads
        for call in (product, *(call for step in steps for call in (step.forward, step.training)))
    ]
    taken = in_turns(tasks, rounds, advance)
    each = 1 + 2 * len(steps)
    by_threads = [taken[i * each : (i + 1) * each] for i in range(len(threads))]
    layers = tuple(
        Measured(
            candidate=step.candidate,
            parameters=sum(p.numel() for p in step.layer.parameters() if p.requires_grad),
            flops=shape.batch_size * _flops(step, shape),
            kept=kept_for_backward(step),
            peak=peak,
            timed=tuple(
                Timed(number, times[1 + 2 * i], times[2 + 2 * i])
                for number, times in zip(threads, by_threads, strict=True)
            ),
        )
        for i, (step, peak) in enumerate(zip(steps, peaks, strict=True))
    )
    splits = tuple(
        Split(step.candidate, number, split(step, number, rounds, advance))
        for step in steps
        if can_be_split(step)
        for number in threads
    )
    limits = tuple(Limit(number, times[0]) for number, times in zip(threads, by_threads, strict=True))
    return Benchmark(shape, rounds, machine, limits, layers, splits)


def _flops(step: Step, shape: Shape) -> int:
    """FLOPs of one image; nothing is computed."""
    layer = step.candidate.build(replace(shape, device="meta"))
    with step.candidate.running():
        return forward_flops(layer, shape.input_shape[1:])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
