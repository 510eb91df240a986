"""What a run leaves for others to read: `result.json`, typed."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.train.convergence import Evaluation, TargetReached

Status = Literal["running", "done", "diverged", "failed", "interrupted"]
SCHEMA_VERSION = 1


@dataclass
class RunResult:
    """One run, from its configuration to its figures.

    Attributes:
        name: Name of the run; its folder is `<root>/<name>/<id>`.
        id: Id of the run.
        status: "running" until it ended; a killed run stays so.
        reason: Why it failed or diverged, in one line.
        data: Class of the data module.
        model: Class of the LightningModule.
        backbone: Class of the network.
        kind: Conv kind.
        kind_options: The kind's further arguments.
        widths: Width of every layer.
        budget: Budget that was asked for, or None.
        parameters: Trainable parameters.
        flops: FLOPs of a forward pass of one sample, a multiply-add counting two.
        seed: Seed of the run.
        group: Group of runs that it belongs to.
        job_type: Its role in the group.
        test_metric: The logged metric that tables show of the test.
        epochs: Epochs trained.
        steps: Optimizer steps.
        training_seconds: Seconds spent in training; evaluation and checkpoints are not counted.
        val_accuracy: Validation accuracy at the end of training.
        best_val_accuracy: Best validation accuracy of any evaluation.
        test_accuracy: Test accuracy of the finished model.
        test_loss: Test cross-entropy of the finished model.
        convergence: For each target, when it was first reached.
        curve: Every evaluation.
        device: What it trained on.
        threads: CPU threads that PyTorch used.
        versions: Versions of Python and of the packages that matter.
        git_commit: Commit of the working directory, if it is in a git repository.
        started: Start, ISO 8601 with time zone.
        schema: Version of this schema.
    """

    name: str
    id: str
    status: Status = "running"
    reason: str | None = None
    data: str = ""
    model: str = ""
    backbone: str = ""
    kind: str = ""
    kind_options: dict[str, Any] = field(default_factory=dict)
    widths: list[int] = field(default_factory=list)
    budget: int | None = None
    parameters: int = 0
    flops: int | None = None
    seed: int | None = None
    group: str | None = None
    job_type: str | None = None
    test_metric: str | None = None
    epochs: int = 0
    steps: int = 0
    training_seconds: float = 0.0
    val_accuracy: float | None = None
    best_val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    convergence: list[TargetReached] = field(default_factory=list)
    curve: list[Evaluation] = field(default_factory=list)
    device: str = ""
    threads: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    started: str = ""
    schema: int = SCHEMA_VERSION

    def write(self, path: Path) -> None:
        """Write the result as JSON, whole or not at all; numbers that are not finite become null."""
        write_text(path, json.dumps(_finite(asdict(self)), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read a result.

        Raises:
            UserError: The file is missing, is not JSON, or has another schema.
        """
        try:
            content = json.loads(path.read_text())
            if content["schema"] != SCHEMA_VERSION:
                raise ValueError(f"it has schema {content['schema']}, not {SCHEMA_VERSION}")
            content["convergence"] = [TargetReached(**r) for r in content["convergence"]]
            content["curve"] = [Evaluation(**e) for e in content["curve"]]
            return cls(**content)
        except FileNotFoundError:
            raise UserError(f"no result at {path}: the run has not started, or this is not a run's folder") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a result that this version reads: {error}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
