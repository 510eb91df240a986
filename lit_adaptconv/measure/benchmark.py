"""Measure candidates beside `nn.Conv2d`, and the arithmetic limit beside both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from lit_adaptconv.measure.candidate import DTYPES, STANDARD, Candidate, Shape, Step
from lit_adaptconv.measure.count import TRAINING_FACTOR, count_parameters, forward_flops
from lit_adaptconv.measure.environment import Machine
from lit_adaptconv.measure.memory import KeptBytes, kept_for_backward, peak_of_steps
from lit_adaptconv.measure.parts import VARIANTS, Part, can_be_split, split
from lit_adaptconv.measure.timing import Task, Times, in_turns

SCHEMA_VERSION = 1
MATRIX = 1024
"""Rows and columns of the matrices whose product gives the machine's speed."""
MATRIX_FLOPS = 2 * MATRIX**3


@dataclass(frozen=True)
class LayerTimes:
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
class MeasuredLayer:
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
    kept: KeptBytes
    peak: int | None
    timed: tuple[LayerTimes, ...]


@dataclass(frozen=True)
class MatrixSpeed:
    """How fast a large matrix product is on some number of threads."""

    threads: int
    product: Times

    @property
    def flops_per_second(self) -> float:
        """Its speed, from the median time."""
        return MATRIX_FLOPS / self.product.spread.median

    def training_seconds(self, layer: MeasuredLayer) -> float:
        """Time that the three products of a training step would take at this speed."""
        return TRAINING_FACTOR * layer.flops / self.flops_per_second


@dataclass(frozen=True)
class StepParts:
    """The parts of a layer's training step on one number of threads."""

    candidate: Candidate
    threads: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Benchmark:
    """All that a run of `adaptconv bench` found; the first layer is `nn.Conv2d`."""

    shape: Shape
    rounds: int
    machine: Machine
    limits: tuple[MatrixSpeed, ...]
    layers: tuple[MeasuredLayer, ...]
    splits: tuple[StepParts, ...]

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
    calls = [matrix_product(shape), *(call for step in steps for call in (step.forward, step.training))]
    taken = iter(in_turns([Task(call, number) for number in threads for call in calls], rounds, advance))
    limits: list[MatrixSpeed] = []
    times: list[list[LayerTimes]] = [[] for _ in steps]
    for number in threads:
        limits.append(MatrixSpeed(number, next(taken)))
        for own in times:
            own.append(LayerTimes(number, forward=next(taken), training=next(taken)))
    layers = tuple(
        MeasuredLayer(
            candidate=step.candidate,
            parameters=count_parameters(step.layer),
            flops=shape.batch_size * _flops(step, shape),
            kept=kept_for_backward(step),
            peak=peak,
            timed=tuple(own),
        )
        for step, peak, own in zip(steps, peaks, times, strict=True)
    )
    splits = tuple(
        StepParts(step.candidate, number, split(step, number, rounds, advance))
        for step in steps
        if can_be_split(step)
        for number in threads
    )
    return Benchmark(shape, rounds, machine, tuple(limits), layers, splits)


def matrix_product(shape: Shape) -> Callable[[], object]:
    """A large matrix product in a shape's type and on its device; it takes `MATRIX_FLOPS`."""
    a = torch.randn(MATRIX, MATRIX).to(shape.device, DTYPES[shape.dtype])
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out)


def _flops(step: Step, shape: Shape) -> int:
    """FLOPs of one image; nothing is computed."""
    layer = step.candidate.build(replace(shape, device="meta"))
    with step.candidate.running():
        return forward_flops(layer, shape.input_shape[1:])
