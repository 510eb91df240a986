"""`adaptconv report`: what sweeps have shown, as a page, a summary, pictures and CSV."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
from jsonargparse import Namespace
from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text
from lit_adaptconv.report.content import SweepContent, for_csv, read_content
from lit_adaptconv.report.figure_files import write_pictures
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.report.page import page
from lit_adaptconv.report.summary import summary

from .fitted import text

PAGE = "index.html"


def report(given: Namespace) -> int:
    """Write the report of one or several sweeps, running or not.

    Returns:
        Exit status: 0.

    Raises:
        UserError: A folder is not that of a sweep, a file can't be read, or the output can't be written.
    """
    sweeps: list[Path] = given.sweep
    output: Path = given.output or (sweeps[0] / "report" if len(sweeps) == 1 else Path("report"))
    contents = [read_content(folder) for folder in sweeps]
    console = Console()
    try:
        _write_page(output, contents)
        pictures = [[] for _ in contents] if given.no_pictures else _pictures(output, contents, console)
        write_text(output / "summary.md", summary(contents, pictures))
    except OSError as error:
        raise UserError(f"can't write to {output}: {error.strerror or error}; --output names another folder") from None
    path = output / PAGE
    size = path.stat().st_size / 1e6
    console.print(text(f"Report: {os.path.relpath(path)} ({size:.1f} MB)"), soft_wrap=True)
    if given.open and not webbrowser.open(path.absolute().as_uri()):
        console.print("No browser could be opened: open the page by hand.")
    return 0


def _write_page(output: Path, contents: Sequence[SweepContent]) -> None:
    for prefix, content in zip(_prefixes(contents), contents, strict=True):
        for name, table in (("trials", content.results), ("curves", content.curves)):
            _write_csv(output / f"{prefix}{name}.csv", for_csv(content.named(table)))
    write_text(output / PAGE, page(contents))


def _write_csv(path: Path, table: pa.Table) -> None:
    write_atomically(path, lambda file: pyarrow.csv.write_csv(table, file))


def _prefixes(contents: Sequence[SweepContent]) -> list[str]:
    """What the names of each sweep's files begin with: nothing for one sweep alone, else its number."""
    return [""] if len(contents) == 1 else [f"{number}-" for number in range(1, len(contents) + 1)]


def _pictures(output: Path, contents: Sequence[SweepContent], console: Console) -> list[list[str]]:
    """Write the pictures, and list the PNG of each sweep; without a browser there are none, which is said."""
    listed: list[list[str]] = []
    for prefix, content in zip(_prefixes(contents), contents, strict=True):
        folder = output / f"{prefix}figures"
        try:
            files = write_pictures(folder, {made.name: made.drawing.plotly() for made in main_figures(content)})
        except UserError as error:
            console.print(text(f"No PNG or SVG: {error}."), soft_wrap=True)
            return [[] for _ in contents]
        listed.append([f"{folder.name}/{file.name}" for file in files if file.suffix == ".png"])
    return listed
