"""Figures as PNG and SVG, drawn by a browser that is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from choreographer.errors import ChromeNotFoundError

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically
from lit_adaptconv.report.figures import NamedFigure

WIDTH = 900
SCALE = 2
SECONDS = 60.0


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
    for name in ("kaleido", "choreographer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        drawn = asyncio.run(_draw(figures))
    except ChromeNotFoundError:
        raise UserError("no Chrome or Chromium was found; install one and run it again") from None
    except Exception as error:  # a browser has many ways to fail, and pictures are not worth a report
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the browser did not draw them: {said}") from None
    for name, content in drawn.items():
        _write(folder / name, content)
    return [folder / name for name in drawn]


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


async def _draw(figures: Sequence[NamedFigure]) -> dict[str, bytes]:
    import kaleido

    drawn = {}
    async with kaleido.Kaleido(n=1, timeout=SECONDS, mathjax=False) as browser:  # else it is fetched from a network
        for each in figures:
            for format in ("png", "svg"):
                options = {"format": format, "width": WIDTH, "height": each.drawing.layout["height"], "scale": SCALE}
                drawn[f"{each.name}.{format}"] = await browser.calc_fig(each.drawing.plotly(), opts=options)
    return drawn
