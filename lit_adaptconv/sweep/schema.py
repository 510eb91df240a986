"""Columns of `results.parquet` and `curves.parquet`; `docs/sweeps.md` describes them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

SCHEMA_KEY = b"lit_adaptconv_schema"
SCHEMA_VERSION = b"1"

MEASURES = ("steps", "epochs", "flops", "seconds")


def to_target(measure: str, target: float) -> str:
    """Name of the column that holds what it took to reach a target, such as `steps_to_0.95`."""
    return f"{measure}_to_{format(target, 'g')}"


def results_schema(targets: Sequence[float]) -> pa.Schema:
    """Schema of `results.parquet`, a row a trial.

    Args:
        targets: The plan's targets; each has four columns, null where it was not reached.
    """
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    columns = {"trial": text, "sweep": text, "arm": text, "kind": text, "kind_options": text}
    columns |= {"data": text, "backbone": text, "budget": whole, "widths": text, "parameters": whole, "flops": whole}
    columns |= {"seed": whole, "pair": whole, "status": text, "reason": text}
    columns |= {"val_accuracy": real, "best_val_accuracy": real, "test_accuracy": real, "test_loss": real}
    columns |= {"steps": whole, "epochs": real, "training_flops": whole, "training_seconds": real}
    types = {"steps": whole, "epochs": real, "flops": whole, "seconds": real}
    columns |= {to_target(measure, target): types[measure] for target in targets for measure in MEASURES}
    columns |= {"tuned": text, "device": text, "threads": whole, "versions": text, "git_commit": text}
    columns |= {"code_version": text, "started": text}
    return pa.schema(list(columns.items()), metadata={SCHEMA_KEY: SCHEMA_VERSION})


CURVES_SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("arm", pa.string()),
        ("kind", pa.string()),
        ("budget", pa.int64()),
        ("seed", pa.int64()),
        ("pair", pa.int64()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("flops", pa.int64()),
        ("seconds", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("val_loss", pa.float64()),
    ],
    metadata={SCHEMA_KEY: SCHEMA_VERSION},
)
