"""Write plotly figures: a page that needs no network, and a picture where a browser can draw it."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from lit_adaptconv.files import write_atomically, write_text


def write_page(figure: go.Figure, path: Path) -> None:
    """Write a figure as an HTML page that holds all it needs."""
    write_text(path, figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False}))


def write_picture(figure: go.Figure, path: Path) -> str | None:
    """Write a figure as PNG, SVG or PDF, as the suffix says; return why that was not possible, in one line.

    plotly draws pictures with kaleido and a Chromium browser, which need not be there.
    """
    try:
        content = figure.to_image(format=path.suffix[1:], scale=2)
    except Exception as error:  # kaleido's exceptions, and those of whatever it starts, have no common base
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return f"no {path.suffix[1:].upper()}: it needs Chromium or Chrome ({reason.strip()})"
    write_atomically(path, lambda file: file.write(content))
    return None
