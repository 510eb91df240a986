"""Columns of `results.parquet` and `curves.parquet`; `docs/sweeps.md` describes them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from lit_adaptconv.measure.budget import COLUMNS
from lit_adaptconv.measure.latency import RUNTIMES
from lit_adaptconv.verdict.summaries import MEASURES, to_target

SCHEMA_KEY = b"lit_adaptconv_schema"
SCHEMA_VERSION = b"2"
RENAMED = {
    "val_accuracy": "val_metric",
    "best_val_accuracy": "best_val_metric",
    "test_accuracy": "test_metric",
    "train_accuracy": "train_metric",
}
"""Columns of version 1, which knew no metric but accuracy, and their names now."""


LIMITS = {COLUMNS["flops"]: pa.int64(), COLUMNS["bytes"]: pa.int64(), COLUMNS["dtype"]: pa.string()}
"""Columns of a budget's limits beside that of parameters, which is "budget"."""
ADDED = {"step_seconds": pa.float64()}
ADDED |= {"test_images": pa.int64(), "test_labels": pa.string(), "test_correct": pa.binary()}
ADDED |= {**LIMITS, "file_bytes": pa.int64()}
ADDED |= {"stacked": pa.int64()}
for runtime in RUNTIMES:
    ADDED |= {f"{runtime}{of}_latency{end}": pa.float64() for of in ("", "_batch") for end in ("", "_lower", "_upper")}
    ADDED |= {f"{runtime}_memory": pa.int64()}
ADDED |= {"onnx_bytes": pa.int64(), "onnx_reason": pa.string()}
ADDED |= {"latency_batch_size": pa.int64(), "latency_threads": pa.int64(), "latency_device": pa.string()}
ADDED |= {"latency_versions": pa.string(), "latency_limit": pa.float64(), "latency_limit_runtime": pa.string()}
ADDED |= {f"sized_latency{end}": pa.float64() for end in ("", "_lower", "_upper")}
"""Columns that older tables of version 2 lack: the cost of a step, timed by turns, which test images were found, what a
budget limits beside parameters, how many trials were trained together, and what one image takes."""


def results_schema(targets: Sequence[float]) -> pa.Schema:
    """Schema of `results.parquet`, one row per trial.

    Args:
        targets: The plan's targets; each has four columns, null where it was not reached.
    """
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    columns = {"trial": text, "sweep": text, "arm": text, "kind": text, "kind_options": text}
    columns |= {"data": text, "backbone": text, "budget": whole, "widths": text, "parameters": whole}
    columns |= {"budget_share": real, "flops": whole}
    columns |= {"seed": whole, "pair": whole, "status": text, "reason": text}
    columns |= {"val_metric": real, "best_val_metric": real, "test_metric": real, "test_loss": real}
    columns |= {"training_flops_per_sample": whole}
    columns |= {"steps": whole, "epochs": real, "training_flops": whole, "training_seconds": real}
    types = {"steps": whole, "epochs": real, "flops": whole, "seconds": real}
    columns |= {to_target(measure, target): types[measure] for target in targets for measure in MEASURES}
    columns |= {"tuned": text, "device": text, "threads": whole, "versions": text, "git_commit": text}
    columns |= {"code_version": text, "started": text}
    columns |= ADDED
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
        ("val_metric", pa.float64()),
        ("train_metric", pa.float64()),
        ("val_loss", pa.float64()),
        *LIMITS.items(),
    ],
    metadata={SCHEMA_KEY: SCHEMA_VERSION},
)
