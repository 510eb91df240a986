"""Text of others – names, reasons – made harmless where it is shown: it is text, whatever it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of writing, and what is no character."""


def visible(text: str) -> str:
    r"""The text with what a terminal would obey, or not show, as an escape: `\x1b[31m` for the code of red."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def characters(name: str) -> str:
    r"""The name of a file as text that can be written: a byte that is no UTF-8 becomes an escape, such as `\udce9`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_text(text: str) -> str:
    """The text as a cell of CSV in which no spreadsheet sees a formula: with an apostrophe where it begins like one."""
    text = visible(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def markdown(text: str) -> str:
    """Text of others that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>&|#~$!])", r"\\\1", " ".join(text.split()))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> list[str]:
    """The lines of a Markdown table; its last columns, so many as are `numbers`, stand right."""
    head, *body = ("| " + " | ".join(map(markdown, row)) + " |" for row in (columns, *rows))
    rules = ["---"] * (len(columns) - numbers) + ["---:"] * numbers
    return [head, "| " + " | ".join(rules) + " |", *body]
