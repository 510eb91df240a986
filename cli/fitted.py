"""Tables that fit the screen and are read by people: one too wide for it is printed in parts, no number is broken."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lit_adaptconv.text import visible
from lit_adaptconv.verdict.summaries import SummaryTable

HEADING = 10
"""Longest line of a column's heading."""
WORDS = (
    "Arm",
    "Answer",
    "Claim",
    "Data",
    "Take",
    "Not ruled out beside it",
    "Widths",
    "Runtime",
    "Note",
    "Network",
    "Kind",
    "Status",
)
"""Columns that hold no numbers; where there is no room they are folded."""
KEYS = ("Run", "Arm", "Budget", "Take")
"""Columns that say what a row is about: every part of a table begins with them."""
LEAST = 12
"""Characters that a folded column keeps."""
BOX = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")
"""A line below each heading, which ends with its column."""


def text(words: str, style: str = "") -> Text:
    """Words for the screen that are text: no markup, no emoji, no code that a terminal obeys."""
    return Text(visible(words), style)


def table_of(summary: SummaryTable, padding: int = 1, *, folded: bool = False) -> Table:
    """The table with this much room between its columns; `folded` lets words take several lines."""
    title = text(summary.title, "table.title") if summary.title else None
    table = Table(title=title, title_justify="left", box=BOX, padding=(0, padding, 0, 0), show_edge=False)
    for place, name in enumerate(summary.columns):
        justify: Literal["left", "right"] = "left" if name in (*WORDS, *KEYS[:1]) else "right"
        width = _width(summary, place)
        foldable = folded and width > LEAST and name in WORDS and name != "Arm"
        least = LEAST if foldable else width
        table.add_column(Text(_heading(name)), justify=justify, overflow="fold", no_wrap=not foldable, min_width=least)
    for row in summary.rows:
        table.add_row(*map(text, row))
    return table


def _heading(name: str) -> str:
    return "\n".join(textwrap.wrap(visible(name), HEADING, break_long_words=False))


def _width(summary: SummaryTable, place: int) -> int:
    """Characters that a column needs, if nothing is folded."""
    lines = [*_heading(summary.columns[place]).splitlines(), *(visible(row[place]) for row in summary.rows)]
    return max(map(cell_len, lines), default=0)


def fits(table: Table, console: Console) -> bool:
    """Whether the screen has room for the table, where it folds no number."""
    size = console.measure(table, options=console.options.update(max_width=10_000))
    needed = [column.min_width for column in table.columns]
    if None in needed:
        return size.maximum <= console.width
    between = table.padding[1] * len(needed) + len(needed) - 1
    return sum(width or 0 for width in needed) + between <= console.width


def fitted(summary: SummaryTable, console: Console) -> Group:
    """The table with as much room between its columns as the screen has, if need be in several parts."""
    for padding, folded in ((1, False), (0, False), (0, True)):
        if fits(whole := table_of(summary, padding, folded=folded), console):
            return Group(whole)
    parts = _parts(summary, console)
    if len(parts) == 1:  # not even one column fits
        return Group(whole)
    return Group(*(shown for part in parts for shown in (fitted(part, console), Text())))


def _parts(summary: SummaryTable, console: Console) -> list[SummaryTable]:
    """The table in parts that fit, each with the columns that say what a row is about."""
    keys = [place for place, name in enumerate(summary.columns) if name in KEYS] or [0]
    others = [place for place in range(len(summary.columns)) if place not in keys]
    parts: list[list[int]] = []
    for place in others:
        if parts and fits(table_of(_chosen(summary, [*keys, *parts[-1], place]), 0), console):
            parts[-1].append(place)
        else:
            parts.append([place])
    return [_chosen(summary, [*keys, *part]) for part in parts]


def _chosen(summary: SummaryTable, places: Sequence[int]) -> SummaryTable:
    rows = tuple(tuple(row[place] for place in places) for row in summary.rows)
    return SummaryTable(summary.title, tuple(summary.columns[place] for place in places), rows)
