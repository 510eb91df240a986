"""Predictions are written whatever the classes and the images are called."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_adaptconv.text import characters
from lit_adaptconv.train.predictions import write_predictions

NAME = st.one_of(
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=9).map(lambda name: name.decode("utf-8", "surrogateescape")),  # as a folder has it
    st.sampled_from(["=cmd()|' /C'!A0", "+1", "-1", "@x", "\t=1", "a\nb", "\x1b[31m", "\x9b1m", "[/r]", "a,\"b'"]),
)


@given(st.lists(NAME, min_size=2, max_size=4, unique_by=characters), st.lists(NAME, min_size=1, max_size=4))
def test_any_name_is_written_as_text(tmp_path_factory: Any, classes: list[str], images: list[str]) -> None:
    folder: Path = tmp_path_factory.mktemp("predictions")
    data: Any = SimpleNamespace(class_names=classes, predict_names=images)
    values = torch.rand(len(images), len(classes)).softmax(1)
    for suffix in ("csv", "parquet"):
        assert write_predictions(folder / f"p.{suffix}", values, data) == len(images)
    text = (folder / "p.csv").read_bytes().decode("utf-8")
    assert not {unicodedata.category(character) for character in text.replace("\n", "")} & {"Cc", "Cs", "Zl", "Zp"}
    with (folder / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    table = pq.read_table(folder / "p.parquet")
    best = [classes[i] for i in values.argmax(1)]
    assert len(rows) == 1 + len(images) == 1 + table.num_rows
    assert len(rows[0]) == 2 + len(classes) == table.num_columns
    for row, name, label in zip(rows[1:], images, best, strict=True):
        assert not {cell[0] for cell in row[:2]} & {*"=+-@"}
        for cell, meant in zip(row, (name, label), strict=False):
            assert not meant.isascii() or not meant.isprintable() or cell.removeprefix("'") in (meant, meant[1:])
    for column, meant in zip(table.columns[:2], (images, best), strict=False):
        assert column.to_pylist() == list(map(characters, meant))
    written = torch.tensor([[float(cell) for cell in row[2:]] for row in rows[1:]])
    torch.testing.assert_close(written, values)
