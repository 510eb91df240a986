"""Gates on runs: floors and ceilings in the test, size and time, and what a run may lose to an earlier comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import read_text
from lit_adaptconv.measure.latency import RUNTIMES, Latencies, Runtime, apart, shown
from lit_adaptconv.records import finite, record
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.verdict.metric import ACCURACY, Metric
from lit_adaptconv.verdict.numbers import NONE

SCHEMA_VERSION = 1
ROUNDING = 1e-6
"""What an accuracy may differ by and be the same: it is a mean in float32."""


@dataclass(frozen=True)
class Limits:
    """What every run must keep to.

    Attributes:
        min_test_accuracy: Floor on the test accuracy, a share; 0 asks for nothing.
        max_test_accuracy: Ceiling on it; 1 asks for nothing.
        max_drop: Most test accuracy that a run may lose to the baseline's run of its name.
        max_parameters: Most trainable parameters, or None.
        max_bytes: Most bytes of the weights, or None.
        max_latency: Most seconds of one image, or None.
        runtime: In which runtime.

    Raises:
        UserError: A share is none, a size is below 1, or the floor is above the ceiling.
    """

    min_test_accuracy: float = 0.0
    max_test_accuracy: float = 1.0
    max_drop: float = 0.01
    max_parameters: int | None = None
    max_bytes: int | None = None
    max_latency: float | None = None
    runtime: Runtime = "onnx"

    def __post_init__(self) -> None:
        for name, example in (
            ("min_test_accuracy", "0.9 for 90 %"),
            ("max_test_accuracy", "0.99 for 99 %"),
            ("max_drop", "0.02 for 2 points"),
        ):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"{name} is a share between 0 and 1, such as {example}, got {value}")
        if self.min_test_accuracy > self.max_test_accuracy:
            raise UserError(
                f"min_test_accuracy {self.min_test_accuracy:g} is above max_test_accuracy {self.max_test_accuracy:g}"
            )
        for name in ("max_parameters", "max_bytes"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise UserError(f"{name} must be at least 1, got {size}")


@dataclass(frozen=True)
class Gate:
    """A gate and what a run has for it.

    Attributes:
        run: The run.
        gate: The option that asks for it.
        limit: Its limit.
        value: What the run has; of `max_drop`, what it lost. None where that is not known.
        met: Whether it is met.
        reason: Why it is not, in a line.
    """

    run: str
    gate: str
    limit: float
    value: float | None
    met: bool
    reason: str


@dataclass(frozen=True)
class ComparedRun:
    """A run, with `RunResult`'s names, and the median seconds of one image where `adaptconv latency` measured them."""

    name: str
    id: str
    status: str
    data: str
    model: str
    backbone: str
    kind: str
    widths: list[int]
    budget: int | None
    parameters: int | None
    weight_bytes: int | None
    flops: int | None
    seed: int | None
    epochs: int
    steps: int
    training_seconds: float
    monitor: str
    mode: str
    test_metric: str
    val_value: float | None
    best_val_value: float | None
    test_value: float | None
    budget_flops: int | None = None
    budget_bytes: int | None = None
    budget_dtype: str | None = None
    file_bytes: int | None = None
    onnx_latency: float | None = None
    torch_latency: float | None = None

    @property
    def test_accuracy(self) -> float | None:
        """Its accuracy in the test; None where that is not known, or it was tested by another metric."""
        known = _by_accuracy(self) and self.test_value is not None and math.isfinite(self.test_value)
        return self.test_value if known else None


@dataclass(frozen=True)
class Compared:
    """What `adaptconv compare --json` writes and `--baseline` reads.

    Attributes:
        runs: The runs.
        gates: All gates, met or not.
        notes: What else is told.
        schema: Version of this schema.
    """

    runs: tuple[ComparedRun, ...]
    gates: tuple[Gate, ...] = ()
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA_VERSION

    @classmethod
    def of(cls, results: Sequence[RunResult], latencies: Sequence[Latencies | None] = ()) -> Compared:
        """The runs with what each one's folder holds on latency, without gates."""
        names = {field.name for field in fields(ComparedRun)} & {field.name for field in fields(RunResult)}
        places = latencies or [None] * len(results)
        runs = [ComparedRun(**{name: getattr(result, name) for name in names}) for result in results]
        return cls(
            tuple(_timed(run, place) for run, place in zip(runs, places, strict=True)),
            notes=tuple(note for note in (apart(places),) if note),
        )

    @classmethod
    def read(cls, path: Path) -> Compared:
        """Read a baseline.

        Raises:
            UserError: The file is missing, is something else, holds no run, or an accuracy that is no share.
        """
        try:
            made = record(cls, json.loads(read_text(path)))
            if made.schema != SCHEMA_VERSION:
                raise ValueError(f"it has schema {made.schema}, not {SCHEMA_VERSION}")
            if not made.runs:
                raise ValueError("it holds no run")
            for run in made.runs:
                if not 0 <= (run.test_accuracy or 0) <= 1:
                    raise ValueError(f"the test accuracy of {run.name} is no share between 0 and 1: {run.test_value}")
        except FileNotFoundError:
            raise UserError(f"no baseline at {path}: `adaptconv compare --json` writes one") from None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} is no baseline, which `adaptconv compare --json` writes: {error}") from None
        return made

    def checked(self, limits: Limits, baseline: Compared | None = None) -> Compared:
        """The same with the gates, and with what is told of the baseline."""
        known: dict[str, list[float]] = {}
        for run in baseline.runs if baseline else ():
            known.setdefault(run.name, [])
            known[run.name] += [] if run.test_accuracy is None else [run.test_accuracy]
        names = [run.name for run in self.runs]
        gates: list[Gate] = []
        notes = [*self.notes]
        for run in self.runs:
            name = run.name if names.count(run.name) == 1 else f"{run.name}/{run.id}"
            gates += _gates(run, name, limits)
            if known.get(run.name):
                gates.append(_drop(run, name, limits.max_drop, fmean(known[run.name])))
            elif baseline is not None:
                lacking = "knows no test accuracy of" if run.name in known else "does not have"
                notes.append(f"The baseline {lacking} {name}.")
        notes += [f"{name} of the baseline was not compared." for name in known if name not in names]
        return replace(self, gates=tuple(gates), notes=tuple(notes))

    def json(self) -> str:
        """It as JSON; numbers that are not finite become null."""
        return json.dumps(finite(asdict(self)), indent=2) + "\n"


def _gates(run: ComparedRun, name: str, limits: Limits) -> Iterator[Gate]:
    """The gates that need no baseline."""
    accuracy, least, most = run.test_accuracy, limits.min_test_accuracy, limits.max_test_accuracy
    for gate, limit, asked, word, sign in (
        ("min_test_accuracy", least, least > 0, "less", 1),
        ("max_test_accuracy", most, most < 1, "more", -1),
    ):
        if asked:
            met = accuracy is not None and sign * (accuracy - limit) >= -ROUNDING
            has, bound = _apart(accuracy, limit)
            reason = _other_metric(run, name, gate) or f"{name} has a test accuracy of {has}, {word} than {bound} %"
            yield Gate(name, gate, limit, accuracy, met, "" if met else reason)
    for gate, size, ceiling, has in (
        ("max_parameters", run.parameters, limits.max_parameters, "has {} parameters"),
        ("max_bytes", run.weight_bytes, limits.max_bytes, "has weights of {} bytes"),
    ):
        if ceiling is not None:
            met = size is not None and size <= ceiling
            unknown = f"{name} has not recorded what --{gate} limits, as runs of earlier versions have not"
            reason = unknown if size is None else f"{name} {has.format(f'{size:,}')}, more than {ceiling:,}"
            yield Gate(name, gate, ceiling, size, met, "" if met else reason)
    if (slowest := limits.max_latency) is not None:
        seconds = run.onnx_latency if limits.runtime == "onnx" else run.torch_latency
        reason = f"the latency of {name} in {RUNTIMES[limits.runtime]} is not known: run `adaptconv latency` on it"
        if seconds is not None:
            pairs = [(shown(seconds, digits), shown(slowest, digits)) for digits in range(3, 9)]
            has, bound = next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1])
            reason = f"{name} takes {has} an image in {RUNTIMES[limits.runtime]}, more than {bound}"
        met = seconds is not None and seconds <= slowest
        yield Gate(name, "max_latency", slowest, seconds, met, "" if met else reason)


def _timed(run: ComparedRun, place: Latencies | None) -> ComparedRun:
    """The run with what was measured of it."""
    if place is None or len(place.networks) != 1:
        return run
    seconds = [None if (one := place.networks[0].of(runtime)) is None else one.image.median for runtime in RUNTIMES]
    return replace(run, onnx_latency=seconds[0], torch_latency=seconds[1])


def _drop(run: ComparedRun, name: str, most: float, before: float) -> Gate:
    """The gate beside the baseline."""
    accuracy = run.test_accuracy
    lost = None if accuracy is None else before - accuracy
    met = lost is not None and lost <= most + ROUNDING
    has, had = _apart(accuracy, before)
    below, limit = _apart(lost, most)
    points = "" if lost is None else f"{below.removesuffix(' %')} points "
    reason = f"{name} has a test accuracy of {has}, {points}less than the baseline's {had} %"
    reason += "" if lost is None else f"; at most {limit} are allowed"
    return Gate(name, "max_drop", most, lost, met, "" if met else _other_metric(run, name, "baseline") or reason)


def _by_accuracy(run: ComparedRun) -> bool:
    return Metric(run.test_metric, "max", run.test_metric).name == ACCURACY.name


def _other_metric(run: ComparedRun, name: str, option: str) -> str:
    return "" if _by_accuracy(run) else f"{name} was tested by {run.test_metric}: leave out --{option}"


def _apart(share: float | None, limit: float) -> tuple[str, str]:
    """A share in percent and its limit without the unit, with as many digits as tell them apart."""
    if share is None:
        return NONE, f"{100 * limit:.2f}"
    pairs = [(f"{100 * share:.{digits}f}", f"{100 * limit:.{digits}f}") for digits in range(2, 7)]
    has, bound = next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1])
    return f"{has} %", bound
