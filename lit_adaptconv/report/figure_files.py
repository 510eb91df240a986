"""Write plotly figures: a page that needs no network, and pictures where a browser can draw them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from choreographer.errors import ChromeNotFoundError

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_atomically, write_text

WIDTH, SCALE = 900, 2
"""Width of a sweep's figures in pixels, and how many pixels of the picture each of them is, in either direction."""
SECONDS = 60.0


def write_page(figure: go.Figure, path: Path) -> None:
    """Write a figure as an HTML page that holds all it needs."""
    write_text(path, figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False}))


def write_picture(figure: go.Figure, path: Path) -> str | None:
    """Write a figure as PNG, SVG or PDF, as the suffix says; return why that was not possible, in one line."""
    try:
        content = draw({path.name: figure})[path.name]
    except UserError as error:
        return f"no {path.suffix[1:].upper()}: {error}"
    _write(path, content)
    return None


def write_pictures(folder: Path, figures: Mapping[str, go.Figure]) -> list[Path]:
    """Write each figure, by its name, as `<name>.png` and `<name>.svg`, and return the files.

    Raises:
        UserError: No browser was found, or it did not draw.
        OSError: A file can't be written.
    """
    drawn = draw({f"{name}.{kind}": figure for name, figure in figures.items() for kind in ("png", "svg")}, WIDTH)
    for name, content in drawn.items():
        _write(folder / name, content)
    return [folder / name for name in drawn]


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


def draw(figures: Mapping[str, Any], width: int | None = None) -> dict[str, bytes]:
    """Draw figures with one browser that is there.

    Args:
        figures: Figures by the names of their files; the suffix says whether it becomes PNG, SVG or PDF.
        width: Width in pixels; None leaves it to the figure.

    Returns:
        The files' contents, by name.

    Raises:
        UserError: No browser was found, or it did not draw.
    """
    for name in ("kaleido", "choreographer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return asyncio.run(_draw(figures, {"scale": SCALE} if width is None else {"scale": SCALE, "width": width}))
    except ChromeNotFoundError:
        raise UserError("no Google Chrome or Chromium was found; install one and run it again") from None
    except Exception as error:  # a browser has many ways to fail, and pictures are not worth a report
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the browser did not draw them: {said}") from None


async def _draw(figures: Mapping[str, Any], options: Mapping[str, int]) -> dict[str, bytes]:
    import kaleido

    drawn = {}
    async with kaleido.Kaleido(n=1, timeout=SECONDS, mathjax=False) as browser:  # else it is fetched from a network
        for name, figure in figures.items():
            format = Path(name).suffix[1:]
            drawn[name] = await browser.calc_fig(figure, opts={"format": format, **options})
    return drawn
