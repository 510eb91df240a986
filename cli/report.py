"""`adaptconv report`: what sweeps have shown, as a page, a summary, pictures and CSV."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text
from lit_adaptconv.report.content import SweepContent, for_csv, read_content
from lit_adaptconv.report.figure_files import write_pictures
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.report.page import page
from lit_adaptconv.report.summary import summary
from lit_adaptconv.train.parser import OneLineParser

from .fitted import text

PAGE = "index.html"


@dataclass(frozen=True)
class ReportOptions:
    """What a report is written from and where to.

    Args:
        sweeps: Folders of sweeps.
        output: Folder of the report.
        open: Whether to open the page in a browser.
        no_pictures: Whether to leave out PNG and SVG.
    """

    sweeps: Sequence[Path]
    output: Path
    open: bool
    no_pictures: bool


def report(args: list[str]) -> int:
    """Write the report of one or several sweeps, running or not.

    Returns:
        Exit status: 0.

    Raises:
        UserError: A folder is not that of a sweep, a file can't be read, or the output can't be written.
    """
    options = _parse(args)
    contents = [read_content(folder) for folder in options.sweeps]
    console = Console()
    try:
        _write_page(options.output, contents)
        pictures = [[] for _ in contents] if options.no_pictures else _pictures(options.output, contents, console)
        write_text(options.output / "summary.md", summary(contents, pictures))
    except OSError as error:
        raise UserError(
            f"can't write to {options.output}: {error.strerror or error}; --output names another folder"
        ) from None
    path = options.output / PAGE
    size = path.stat().st_size / 1e6
    console.print(text(f"Report: {os.path.relpath(path)} ({size:.1f} MB)"), soft_wrap=True)
    if options.open and not webbrowser.open(path.absolute().as_uri()):
        console.print("No browser could be opened: open the page by hand.")
    return 0


def _parse(args: list[str]) -> ReportOptions:
    description = "Write what sweeps have shown so far as a page, a summary, pictures and CSV."
    parser = OneLineParser(prog="adaptconv report", description=description)
    parser.add_argument("sweep", nargs="+", type=Path, help="Folders of sweeps, such as runs/digits.")
    parser.add_argument(
        "--output",
        type=Path | None,
        help="Folder of the report; by default `report` in the sweep's folder, with several sweeps in this one.",
    )
    parser.add_argument("--open", action="store_true", help="Open the page in a browser.")
    parser.add_argument("--no-pictures", action="store_true", help="Leave out PNG and SVG, which need a browser.")
    given = parser.parse_args(args)
    sweeps: list[Path] = given.sweep
    default = sweeps[0] / "report" if len(sweeps) == 1 else Path("report")
    return ReportOptions(sweeps, given.output or default, given.open, given.no_pictures)


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
