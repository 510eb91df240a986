"""The table of a sweep's tuning: what every arm has tried at every budget, and how it did in validation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lit_adaptconv.files import write_atomically
from lit_adaptconv.measure.budget import to_columns
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.schema import LIMITS
from lit_adaptconv.train.result import RunResult

TUNING = "tuning.parquet"
SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("arm", pa.string()),
        ("budget", pa.int64()),
        *LIMITS.items(),
        ("number", pa.int64()),
        ("values", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("val_metric", pa.float64()),
    ]
)
"""A row for each seed of each set of values; `docs/sweeps.md` describes the columns."""


def tuning_row(at: ArmBudget, number: int, values: Mapping[str, Any], result: RunResult) -> dict[str, Any]:
    """The row of a tuning trial that has ended.

    Args:
        at: Arm and budget.
        number: Number of the set of values, from 0.
        values: The values.
        result: How the trial ended.
    """
    row = {"trial": result.id, "arm": at.arm, **to_columns(at.budget), "number": number}
    row |= {"values": json.dumps(dict(values), sort_keys=True), "seed": result.seed, "status": result.status}
    return row | {"val_metric": result.val_value}


def write_tuning(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table into a sweep's folder, whole or not at all."""
    table = pa.Table.from_pylist(rows, SCHEMA)
    write_atomically(folder / TUNING, lambda file: pq.write_table(table, file))


def read_tuning(folder: Path) -> pa.Table | None:
    """Read the table of a sweep's folder; None where it was not tuned or is not yet, or the file is damaged."""
    try:
        return pq.read_table(folder / TUNING, schema=SCHEMA)
    except (OSError, pa.ArrowException):
        return None
