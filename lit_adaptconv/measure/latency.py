"""What one image takes in a network, in onnxruntime and in PyTorch, as it was measured: `latency.json`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import read_text, write_text
from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.records import record

LATENCY = "latency.json"
Runtime = Literal["onnx", "torch"]
RUNTIMES: dict[Runtime, str] = {"onnx": "onnxruntime", "torch": "PyTorch"}
"""What runs a network, and what people call it."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6}
"""Seconds of each unit; the sign of micro has two characters."""
_TIME = re.compile(rf"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*({'|'.join(UNITS)})\s*", re.ASCII)


@dataclass(frozen=True)
class RuntimeLatency:
    """A network in one runtime.

    Attributes:
        image: Seconds of one image.
        batch: Seconds of a batch.
        memory: Bytes by which loading the network and running one image raise the most memory that the process holds;
            None where the system does not tell.
    """

    image: Spread
    batch: Spread
    memory: int | None


@dataclass(frozen=True)
class NetworkLatency:
    """A network.

    Attributes:
        arm: Its arm in a sweep, or the name of its run.
        budget: Its budget, or None.
        kind: Its conv kind.
        parameters: Its trainable parameters, or None where they are not known.
        onnx: In onnxruntime; None where that can't run it, or was not asked.
        torch: In PyTorch.
        onnx_bytes: Size of the ONNX file.
        reason: Why onnxruntime can't run it; else empty.
    """

    arm: str
    budget: Limits | None
    kind: str
    parameters: int | None
    onnx: RuntimeLatency | None
    torch: RuntimeLatency
    onnx_bytes: int | None
    reason: str

    def of(self, runtime: Runtime) -> RuntimeLatency | None:
        """It in a runtime."""
        return self.onnx if runtime == "onnx" else self.torch


@dataclass(frozen=True)
class Latencies:
    """Networks that were timed by turns, and on what.

    Attributes:
        device: The device.
        threads: CPU threads of both runtimes.
        batch_size: Images in a batch.
        turns: Turns of one image of each network; a batch has a third as many.
        load: Load average of the last minute when measuring began, where the system tells it.
        versions: Versions of Python and of the packages that matter.
        networks: The networks.
    """

    device: str
    threads: int
    batch_size: int
    turns: int
    load: float | None
    versions: dict[str, str]
    networks: tuple[NetworkLatency, ...]

    @property
    def where(self) -> str:
        """On what they were measured, as a reader of a table would name it."""
        versions = (f"{name} {self.versions[name]}" for name in ("onnxruntime", "torch") if name in self.versions)
        return f"{self.device}, {self.threads} {'thread' if self.threads == 1 else 'threads'}; {', '.join(versions)}"

    def write(self, folder: Path) -> None:
        """Write them into the folder of a sweep or a run."""
        write_text(folder / LATENCY, json.dumps(asdict(self), indent=2) + "\n")


def read_latencies(folder: Path) -> Latencies | None:
    """Read those of a sweep's or a run's folder; None where there are none that can be read."""
    try:
        return record(Latencies, json.loads(read_text(folder / LATENCY)))
    except (OSError, ValueError, RecursionError):
        return None


def seconds_of(name: str, text: object) -> float:
    """Read a time, such as `2ms`.

    Args:
        name: What it is for.
        text: A number with its unit: s, ms, us or µs.

    Raises:
        UserError: It has no unit, another one, or is not above 0.
    """
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        seconds = float(found[1]) * UNITS[found[2]] if found else math.nan
    except ValueError:  # two points
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"{name} is a time above 0 with its unit, s, ms, us or µs, such as 2ms; got {text!r:.40}")
    return seconds


def shown(seconds: float, digits: int = 3) -> str:
    """Seconds as people read a latency: `0.216 ms`."""
    return f"{milliseconds(seconds, digits)} ms"


def milliseconds(seconds: float, digits: int = 3) -> str:
    """The same without the unit."""
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def apart(places: Sequence[Latencies | None]) -> str | None:
    """A sentence where latencies that are compared were not measured alike; None where they were."""
    found = list(dict.fromkeys(one.where for one in places if one is not None))
    if len(found) < 2:
        return None
    return f"The latencies were not measured alike, and tell little beside each other: {' | '.join(found)}."
