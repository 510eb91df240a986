"""Figures as PNG and SVG, drawn by a browser that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_adaptconv.files import write_atomically
from lit_adaptconv.report.figure_files import draw
from lit_adaptconv.report.figures import NamedFigure

WIDTH = 900


def write_images(folder: Path, figures: Sequence[NamedFigure]) -> list[Path]:
    """Write each figure as `<name>.png` and `<name>.svg`.

    Args:
        folder: Where to.
        figures: The figures.

    Returns:
        The files.

    Raises:
        UserError: No browser was found, or it did not start.
        OSError: A file can't be written.
    """
    drawn = draw({f"{each.name}.{kind}": each.drawing.plotly() for each in figures for kind in ("png", "svg")}, WIDTH)
    for name, content in drawn.items():
        _write(folder / name, content)
    return [folder / name for name in drawn]


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))
