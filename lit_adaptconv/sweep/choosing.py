"""Which network to take, from what sweeps have shown."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import Runtime, apart, read_latencies, seconds_of
from lit_adaptconv.sweep.folder import TRIALS
from lit_adaptconv.sweep.frames import Source, folder_of, read_sweep
from lit_adaptconv.train.runs import CHECKPOINTS
from lit_adaptconv.verdict import choice
from lit_adaptconv.verdict.budget_columns import budgets_of
from lit_adaptconv.verdict.choice import Candidate, Choice


def choose(
    *sources: Source,
    at_most: int | None = None,
    flops: int | None = None,
    latency: str | None = None,
    runtime: Runtime = "onnx",
    margin: float | None = None,
) -> Choice:
    """Say which network of a sweep to take, and which others are not ruled out.

    Args:
        sources: Folders of sweeps, finished or not, or their plans. For several sweeps, on different data, there is one
            choice per sweep, and one of an arm for all together.
        at_most: The most trainable parameters that the network may have.
        flops: The most FLOPs that a forward pass of one sample may take.
        latency: The most time that one image may take, such as "2ms", as `adaptconv latency` measured it.
        runtime: The runtime of that latency: "onnx" or "torch".
        margin: Difference of the test metric that does not matter: in percentage points for a share such as accuracy,
            otherwise in the metric's own unit. By default the margin of the first sweep's question.

    Returns:
        A `Choice`: its `sentences` say which network to take, its `table` has those that are not ruled out, and its
        `checkpoints` the weights.

    Raises:
        UserError: A source is not a sweep, has no trial or no network within the limits, or too few of its seeds
            trained; or different metrics judge the sweeps.

    Examples:
        >>> choice = choose("docs/results/digits", at_most=800)  # in a clone of the repository
        >>> len(choice.sentences) > 0
        True
    """
    if not sources:
        raise UserError("name at least one sweep, such as runs/digits")
    most = None if latency is None else seconds_of("latency", latency)
    folders = [folder_of(source) for source in sources]
    read = [read_sweep(folder) for folder in folders]
    found = [(made.name, made.data, choice.networks_of(results, made.metric, runtime)) for made, results, _ in read]
    first = read[0][0]
    metric = first.metric
    for other in (made.metric for made, _, _ in read[1:]):
        if (other.name, other.mode) != (metric.name, metric.mode):
            raise UserError(
                f"the sweeps are judged by {metric.name} ({metric.mode}) and {other.name} ({other.mode}): "
                "choose from sweeps of one metric"
            )
    given = first.question.metric_margin(metric) if margin is None else margin / metric.scale
    chosen = choice.choose(found, metric, at_most=at_most, flops=flops, latency=most, margin=given)
    weights = tuple(
        _checkpoint(folder, results, metric.sign, best)
        for folder, (_, results, _), (best, *_) in zip(folders, read, chosen.sweeps, strict=True)
    )
    note = apart([read_latencies(folder) for folder in folders])
    return replace(chosen, checkpoints=weights, unknown=chosen.unknown if note is None else (*chosen.unknown, note))


def _checkpoint(folder: Path, results: pa.Table, sign: float, network: Candidate) -> Path | None:
    """The checkpoint of a network's seed that is best in validation."""
    rows = results.select(["trial", "arm", "status", "val_metric"]).to_pylist()
    wanted = (network.arm, network.budget, "done")
    values = {
        row["trial"]: sign * row["val_metric"]
        for row, budget in zip(rows, budgets_of(results), strict=True)
        if (row["arm"], budget, row["status"]) == wanted
        and row["val_metric"] is not None
        and math.isfinite(row["val_metric"])
    }
    if not values:
        return None
    path = folder / TRIALS / max(values, key=lambda trial: values[trial]) / CHECKPOINTS["last"]
    return path if path.is_file() else None
