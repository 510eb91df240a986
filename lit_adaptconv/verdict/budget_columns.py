"""The budgets of a table's rows, which stand in a column for each limit."""

from __future__ import annotations

from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from lit_adaptconv.measure.budget import COLUMNS, Limits, from_columns, to_columns


def budgets_of(table: pa.Table) -> list[Limits | None]:
    """The budget of each row of results or curves, also of earlier versions, which limited parameters alone."""
    names = [name for name in COLUMNS.values() if name in table.column_names]

    @cache
    def budget(*values: int | str | None) -> Limits | None:
        return from_columns(dict(zip(names, values, strict=True)))

    return [budget(*values) for values in zip(*(table[name].to_pylist() for name in names), strict=True)]


def rows_at(table: pa.Table, budget: Limits | None) -> pa.Table:
    """The rows of a budget."""
    for name, value in to_columns(budget).items():
        if name in table.column_names:
            column = table[name]
            table = table.filter(pc.is_null(column) if value is None else pc.equal(column, value))
    return table
