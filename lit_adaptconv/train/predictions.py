"""Write what `adaptconv predict` found, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.distributed as dist
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically
from lit_adaptconv.text import characters, csv_text

Column = list[str] | NDArray[Any]


def stack_predictions(batches: Sequence[Any]) -> Tensor:
    """The predictions of all processes for all samples, in the order of the samples.

    Args:
        batches: What `predict_step` returned in this process, batch by batch: tensors of shape `(N,)` or `(N, values)`.
            With several processes each has every n-th sample, as a distributed sampler deals them out.

    Returns:
        The rows, float32, on the CPU, shape `(samples,)` or `(samples, values)`.

    Raises:
        UserError: The module predicts something else than such tensors.
    """
    if not batches or not all(isinstance(batch, Tensor) and batch.dim() in (1, 2) for batch in batches):
        got = type(batches[0]).__name__ if batches else "nothing"
        shape = f" of shape {tuple(batches[0].shape)}" if batches and isinstance(batches[0], Tensor) else ""
        raise UserError(
            f"predict writes tensors of shape (N,) or (N, values), one for each batch; predict_step returned {got}"
            f"{shape}"
        )
    mine = torch.cat(list(batches)).float().cpu()
    if not (dist.is_available() and dist.is_initialized()):
        return mine
    shares: list[Tensor] = [mine] * dist.get_world_size()
    dist.all_gather_object(shares, mine)
    rows = torch.empty(sum(map(len, shares)), *mine.shape[1:])
    for rank, share in enumerate(shares):
        rows[rank :: len(shares)] = share
    return rows


def write_predictions(output: Path, predictions: Tensor, data: LightningDataModule | None) -> int:
    """Write one row per sample.

    Where the data module has `class_names`, a row has the most probable class and the probability of every class;
    else what the module predicted, a number a column. Its first column is the sample's name, from the data module's
    `predict_names`, or its index. Bytes of a name that are no UTF-8 become escapes; in CSV also control characters do,
    and what a spreadsheet would take for a formula begins with an apostrophe.

    Args:
        output: File to write; its suffix, `.csv` or `.parquet`, decides the format (see `check_output`).
        predictions: From `stack_predictions`.
        data: The data module.

    Returns:
        The number of rows.
    """
    values = predictions.numpy()
    names = getattr(data, "predict_names", None) or [str(index) for index in range(len(values))]
    first = "image" if hasattr(data, "class_names") else "sample"
    write, as_text = (_write_csv, csv_text) if output.suffix == ".csv" else (_write_parquet, characters)
    columns = [(first, list(names)[: len(values)]), *_columns(values, getattr(data, "class_names", None))]
    heads = [as_text(name) for name, _ in columns]
    cells = [list(map(as_text, each)) if isinstance(each, list) else each for _, each in columns]
    write_atomically(output, lambda file: write(heads, cells, file))
    return len(values)


def _write_csv(heads: list[str], columns: list[Column], file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(zip(*columns, strict=True))
    text.detach()  # else the file is closed with it


def _write_parquet(heads: list[str], columns: list[Column], file: BinaryIO) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns, names=heads), file)


def _columns(values: NDArray[Any], class_names: Sequence[str] | None) -> list[tuple[str, Column]]:
    if values.ndim == 1:
        return [("prediction", values)]
    if class_names is None or values.shape[1] != len(class_names):
        return [(f"prediction_{i}", values[:, i]) for i in range(values.shape[1])]
    labels = [class_names[i] for i in values.argmax(axis=1)]
    return [("label", labels), *((f"probability_{name}", values[:, i]) for i, name in enumerate(class_names))]


def check_output(output: Path) -> None:
    """Check the format that a file's suffix asks for.

    Raises:
        UserError: It is neither CSV nor Parquet, or Parquet without the library that writes it.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise UserError(f"predictions are written as .csv or .parquet, not as {output.name!r}")
    if output.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError("a .parquet file needs pyarrow: pip install 'lit-adaptconv[sweep]'; a .csv file does not")
