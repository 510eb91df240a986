"""Measure candidates beside `nn.Conv2d`, and the limits of the machine beside both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from lit_adaptconv.measure.candidate import DTYPES, STANDARD, Candidate, Shape, Step, wait_for
from lit_adaptconv.measure.count import TRAINING_FACTOR, count_parameters, forward_flops
from lit_adaptconv.measure.environment import Machine
from lit_adaptconv.measure.limit import Speeds, large_copy, matrix_product, pass_bytes
from lit_adaptconv.measure.memory import KeptBytes, kept_for_backward, peak_of_steps
from lit_adaptconv.measure.parts import VARIANTS, Part, can_be_split, split
from lit_adaptconv.measure.timing import Task, Times, in_turns

SCHEMA_VERSION = 2


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
        forward_bytes: Bytes that the forward pass of the batch reads and writes at the least.
        training_bytes: Bytes that a training step reads and writes at the least.
        first_step: Seconds of the first training step, in which what is not on disk is compiled.
        timed: Times, one for each number of threads.
    """

    candidate: Candidate
    parameters: int
    flops: int
    kept: KeptBytes
    peak: int | None
    forward_bytes: int
    training_bytes: int
    first_step: float
    timed: tuple[LayerTimes, ...]


@dataclass(frozen=True)
class Limit:
    """What the machine can do at most, on some number of threads.

    Attributes:
        threads: CPU threads.
        product: Times of a large matrix product, in the type of the layers.
        copy: Times of a large copy within the device's memory.
        device: The device.
    """

    threads: int
    product: Times
    copy: Times
    device: str = "cpu"

    @property
    def speeds(self) -> Speeds:
        """FLOPs and bytes a second, from the median times."""
        return Speeds.measured(self.product, self.copy, self.device)

    def forward_share(self, layer: MeasuredLayer, timed: LayerTimes) -> float:
        """The least time of a forward pass, over the one that it takes."""
        return self.speeds.least_seconds(layer.flops, layer.forward_bytes) / timed.forward.spread.median

    def training_share(self, layer: MeasuredLayer, timed: LayerTimes) -> float:
        """The least time of a training step, over the one that it takes."""
        least = self.speeds.least_seconds(TRAINING_FACTOR * layer.flops, layer.training_bytes)
        return least / timed.training.spread.median


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
    limits: tuple[Limit, ...]
    layers: tuple[MeasuredLayer, ...]
    splits: tuple[StepParts, ...]

    def to_json(self) -> str:
        """Everything, times of every round included."""
        return json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, indent=1, ensure_ascii=False)


def prepare(candidates: Sequence[Candidate], shape: Shape) -> list[Step]:
    """Build `nn.Conv2d` and the candidates, and let each take its first training step.

    Raises:
        UserError: One cannot compute this shape.
    """
    return [_first_step(Step.of(candidate, shape)) for candidate in (STANDARD, *candidates)]


def _first_step(step: Step) -> Step:
    begin = time.perf_counter()
    step.training()
    wait_for(step.input.device)
    return replace(step, first_seconds=step.first_seconds + time.perf_counter() - begin)


def turns(steps: Sequence[Step], threads: Sequence[int], rounds: int) -> int:
    """How often `measure` calls `advance`."""
    variants = VARIANTS * sum(map(can_be_split, steps))
    return len(threads) * rounds * (2 + 2 * len(steps) + variants)


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
    limit_calls = (matrix_product(shape.device, DTYPES[shape.dtype]), large_copy(shape.device))
    calls = [*limit_calls, *(call for step in steps for call in (step.forward, step.training))]
    taken = iter(in_turns([Task(call, number) for number in threads for call in calls], rounds, advance))
    limits: list[Limit] = []
    times: list[list[LayerTimes]] = [[] for _ in steps]
    for number in threads:
        limits.append(Limit(number, next(taken), next(taken), shape.device))
        for own in times:
            own.append(LayerTimes(number, forward=next(taken), training=next(taken)))
    layers = tuple(
        MeasuredLayer(
            candidate=step.candidate,
            parameters=count_parameters(step.layer),
            flops=shape.batch_size * _flops(step, shape),
            kept=kept_for_backward(step),
            peak=peak,
            forward_bytes=pass_bytes(step.input.nbytes, step.grad_output.nbytes)[0],
            training_bytes=pass_bytes(step.input.nbytes, step.grad_output.nbytes)[1],
            first_step=step.first_seconds,
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


def _flops(step: Step, shape: Shape) -> int:
    """FLOPs of one image; nothing is computed."""
    layer = step.candidate.build(replace(shape, device="meta"))
    with step.candidate.running():
        return forward_flops(layer, shape.input_shape[1:])
