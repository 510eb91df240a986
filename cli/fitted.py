"""Tables that fit the screen, and are read by people: a number is folded where there is no room, never cut."""

from __future__ import annotations

import textwrap
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lit_adaptconv.text import visible
from lit_adaptconv.verdict.summaries import SummaryTable

HEADING = 10
"""Longest line of a column's heading."""
WORDS = ("Arm", "Claim", "Data", "Take", "Not ruled out beside it", "Widths", "Runtime", "Note")
"""Columns that hold no numbers."""


def text(words: str, style: str = "") -> Text:
    """Words for the screen that are text: no markup, no emoji, no code that a terminal obeys."""
    return Text(visible(words), style)


def table_of(summary: SummaryTable, padding: int = 1, *, folded: bool = False) -> Table:
    """The table with this much room between its columns; `folded` where it has to be narrower than its content."""
    title = text(summary.title, "table.title")
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, padding, 0, 0), show_edge=False)
    for name in summary.columns:
        heading = "\n".join(textwrap.wrap(visible(name), HEADING, break_long_words=False))
        justify: Literal["left", "right"] = "left" if name in WORDS else "right"
        table.add_column(Text(heading), justify=justify, overflow="fold", no_wrap=name == "Arm" or not folded)
    for row in summary.rows:
        table.add_row(*map(text, row))
    return table


def fits(table: Table, console: Console) -> bool:
    """Whether the screen has room for the table."""
    unbounded = console.options.update(max_width=10_000)
    return console.measure(table, options=unbounded).maximum <= console.width


def fitted(summary: SummaryTable, console: Console) -> Table:
    """The table with as much room between its columns as the screen has."""
    unfolded = (table_of(summary, padding) for padding in (1, 0))
    return next((table for table in unfolded if fits(table, console)), table_of(summary, 0, folded=True))
