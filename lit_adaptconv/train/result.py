"""What a run leaves for others to read: `result.json`, typed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import read_text, write_text
from lit_adaptconv.measure.budget import FloatType, Limits, from_columns
from lit_adaptconv.records import finite, record
from lit_adaptconv.train.convergence import Evaluation, TargetReached, renamed
from lit_adaptconv.train.tested import ImageBits

Status = Literal["running", "done", "diverged", "failed", "interrupted"]
SCHEMA_VERSION = 2


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
        backbone: Class of the network, where the module names it; so with what follows, to the budget.
        kind: Conv kind.
        kind_options: The kind's further arguments.
        widths: Width of every layer.
        budget: Largest number of trainable parameters that was asked for, or None.
        budget_flops: Largest number of FLOPs that was asked for, or None.
        budget_bytes: Most bytes of weights that were asked for, or None.
        budget_dtype: Type of the numbers of those bytes; None where they are not limited.
        parameters: Trainable parameters; None where they are not known, as of a network that could not be built.
        weight_bytes: Bytes of all weights, as checkpoints store them; None where not known, as of earlier versions.
        file_bytes: Bytes of the weights in numbers of `budget_dtype`; None where no budget limits them.
        flops: FLOPs of a forward pass of one sample, a multiply-add counting two; None where they are not known.
        training_flops_per_sample: FLOPs of a training step of one sample, as training began; None where they are not
            known, and in results of earlier versions, which counted no activations, and three forward passes in
            training.
        seed: Seed of the run.
        group: Group of runs that it belongs to.
        job_type: Its role in the group.
        epochs: Epochs trained.
        steps: Optimizer steps.
        training_seconds: Seconds spent in training; evaluation and checkpoints are not counted.
        monitor: Name of the metric that tells how far the training is.
        mode: "max" if more of it is better, "min" if less is.
        test_metric: Name of the same metric in the test.
        val_value: The monitored metric at the end of training.
        best_val_value: Its best value of any evaluation.
        test_value: The test metric of the finished model.
        test_metrics: Everything that the test logged.
        test_images: Which images of the test the finished model got right; None where the module does not tell.
        convergence: For each target, when it was first reached.
        curve: Every evaluation.
        device: What it trained on.
        threads: CPU threads that PyTorch used.
        stacked: Number of runs that were trained together with it, itself included: its seconds are those of all; None
            if it was trained alone.
        averaging: The callback that averages the weights of the steps: evaluations, the test and the weights in
            checkpoints are those of the average; None if there was none.
        versions: Versions of Python and of the packages that matter.
        git_commit: Commit of the working directory, if it is in a git repository.
        started: Start, ISO 8601 with time zone.
        schema: Version of this schema.

    Examples:
        >>> RunResult("mine", "1", kind="adaptive").kind
        'adaptive'
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
    budget_flops: int | None = None
    budget_bytes: int | None = None
    budget_dtype: FloatType | None = None
    parameters: int | None = None
    weight_bytes: int | None = None
    file_bytes: int | None = None
    flops: int | None = None
    training_flops_per_sample: int | None = None
    seed: int | None = None
    group: str | None = None
    job_type: str | None = None
    epochs: int = 0
    steps: int = 0
    training_seconds: float = 0.0
    monitor: str = "val/accuracy"
    mode: Literal["max", "min"] = "max"
    test_metric: str = "test/accuracy"
    val_value: float | None = None
    best_val_value: float | None = None
    test_value: float | None = None
    test_metrics: dict[str, float] = field(default_factory=dict)
    test_images: ImageBits | None = None
    convergence: list[TargetReached] = field(default_factory=list)
    curve: list[Evaluation] = field(default_factory=list)
    device: str = ""
    threads: int = 0
    stacked: int | None = None
    averaging: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    started: str = ""
    schema: int = SCHEMA_VERSION

    @property
    def limits(self) -> Limits | None:
        """The budget that was asked for."""
        return from_columns(vars(self))

    @property
    def sizes(self) -> dict[str, int | None]:
        """What the network has of each thing that a budget can limit."""
        return {"parameters": self.parameters, "flops": self.flops, "bytes": self.file_bytes}

    def write(self, path: Path) -> None:
        """Write the result as JSON, whole or not at all; numbers that are not finite become null."""
        write_text(path, json.dumps(finite(asdict(self)), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read a result, of this schema or the one before.

        Raises:
            UserError: The file is missing, damaged, or has another schema.
        """
        try:
            content = json.loads(read_text(path))
            if content["schema"] == 1:
                content = _of_accuracy(content)
            if content["schema"] != SCHEMA_VERSION:
                raise ValueError(f"it has schema {content['schema']}, not {SCHEMA_VERSION}")
            return record(cls, content)
        except FileNotFoundError:
            raise UserError(f"no result at {path}: the run has not started, or this is not a run's folder") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path} is not a result that this version reads: {error}") from None


def _of_accuracy(content: dict[str, Any]) -> dict[str, Any]:
    """A result of schema 1, which knew no metric but accuracy, no module but ours, and 0 for what is not known."""
    known = {key: value for key, value in content.items() if not key.endswith(("_accuracy", "test_loss"))}
    tested = {f"test/{name}": content[f"test_{name}"] for name in ("accuracy", "loss")}
    return known | {
        "schema": 2,
        "model": "ImageClassifier",
        "parameters": content["parameters"] or None,
        "flops": content["flops"] or None,
        "val_value": content["val_accuracy"],
        "best_val_value": content["best_val_accuracy"],
        "test_value": content["test_accuracy"],
        "test_metrics": {name: value for name, value in tested.items() if value is not None},
        "curve": [renamed(evaluation) for evaluation in content["curve"]],
    }
