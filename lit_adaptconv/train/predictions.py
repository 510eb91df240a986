"""Write what `adaptconv predict` found, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.distributed as dist
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically


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
    """Write a row a sample.

    Where the data module has `class_names`, a row has the most probable class and the probability of every class;
    else what the module predicted, a number a column. Its first column is the sample's name, from the data module's
    `predict_names`, or its index.

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
    columns: dict[str, Iterable[object]] = {first: list(names)[: len(values)]}
    columns |= _columns(values, getattr(data, "class_names", None))
    write = _write_csv if output.suffix == ".csv" else _write_parquet
    write_atomically(output, lambda file: write(columns, file))
    return len(values)


def _write_csv(columns: dict[str, Iterable[object]], file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    text.detach()  # else the file is closed with it


def _write_parquet(columns: dict[str, Iterable[object]], file: BinaryIO) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _columns(values: NDArray[Any], class_names: Sequence[str] | None) -> dict[str, Iterable[object]]:
    if class_names is not None and values.ndim == 2 and values.shape[1] == len(class_names):
        probabilities = {f"probability_{name}": values[:, i] for i, name in enumerate(class_names)}
        return {"label": [class_names[i] for i in values.argmax(axis=1)], **probabilities}
    if values.ndim == 1:
        return {"prediction": values}
    return {f"prediction_{i}": values[:, i] for i in range(values.shape[1])}


def check_output(output: Path) -> None:
    """Check the format that a file's suffix asks for.

    Raises:
        UserError: It is neither CSV nor Parquet, or Parquet without the library that writes it.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise UserError(f"predictions are written as .csv or .parquet, not as {output.name!r}")
    if output.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError("a .parquet file needs pyarrow: pip install 'lit-adaptconv[sweep]'; a .csv file does not")
