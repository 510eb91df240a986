"""Write what `adaptconv predict` found, as CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch
from torch import Tensor

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically


def write_predictions(output: Path, batches: Sequence[Tensor], data: ImageData) -> int:
    """Write a row an image: its file or index, the most probable class, and the probability of every class.

    Args:
        output: File to write; its suffix, `.csv` or `.parquet`, decides the format (see `check_output`).
        batches: Probabilities `(N, num_classes)`, batch by batch.
        data: The data module, which knows the images' names and the classes'.

    Returns:
        The number of rows.
    """
    probabilities = torch.cat(list(batches)).float().cpu().numpy()
    columns: dict[str, object] = {
        "image": list(data.predict_names)[: len(probabilities)],
        "label": [data.class_names[i] for i in probabilities.argmax(axis=1)],
    }
    columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(data.class_names)}
    table = pa.table(columns)
    write = pyarrow.csv.write_csv if output.suffix == ".csv" else pyarrow.parquet.write_table
    write_atomically(output, lambda file: write(table, file))
    return int(table.num_rows)


def check_output(output: Path) -> None:
    """Check the format that a file's suffix asks for.

    Raises:
        UserError: It is neither CSV nor Parquet.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise UserError(f"predictions are written as .csv or .parquet, not as {output.name!r}")
