"""What a training step of each network of a sweep costs, as it was timed by turns: `step_costs.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lit_adaptconv.files import read_text, write_text
from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.records import record

STEP_COSTS = "step_costs.json"


@dataclass(frozen=True)
class StepCost:
    """Seconds of a training step of an arm's network at a budget: the median of its turns."""

    arm: str
    budget: Limits | None
    seconds: float


@dataclass(frozen=True)
class StepCosts:
    """The costs of all networks of a sweep, and on what they were timed.

    Attributes:
        device: The device.
        threads: CPU threads that PyTorch used.
        versions: Versions of Python and of the packages that matter.
        turns: Turns of each network.
        costs: One an arm and budget.
    """

    device: str
    threads: int
    versions: dict[str, str]
    turns: int
    costs: tuple[StepCost, ...]

    def write(self, folder: Path) -> None:
        """Write them into a sweep's folder."""
        write_text(folder / STEP_COSTS, json.dumps(asdict(self), indent=2) + "\n")


def read_step_costs(folder: Path) -> StepCosts | None:
    """Read those of a sweep's folder; None where there are none that can be read."""
    try:
        return record(StepCosts, json.loads(read_text(folder / STEP_COSTS)))
    except (OSError, ValueError, RecursionError):
        return None
