"""A figure while it is made: plotly's own JSON, which is checked where it becomes plotly's figure."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

INK, MUTED, GRID = "#1f2328", "#5b636d", "#e5e7ea"
BACKED: dict[str, Any] = {"bgcolor": "white", "borderpad": 1}
"""Of a text that stands on lines."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Drawing:
    """An empty figure, to be filled.

    Plotly's objects check every setting several times over, which takes minutes for the thousands of traces of a large
    sweep; plain data take seconds.

    Args:
        title: Title, which the page shows outside the figure.
        x: Settings of the x axis.
        y: Settings of the y axis.
        height: Height in pixels.

    Attributes:
        data: The traces.
        layout: The layout.
    """

    def __init__(self, title: str, x: dict[str, Any], y: dict[str, Any], height: int = 420) -> None:
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {
            "title": {
                "text": title,
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "yanchor": "top",
                "y": 1 - 13 / height,
                "font": {"size": 16},
            },
            "font": {"family": FONT, "size": 13, "color": INK},
            "paper_bgcolor": "white",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "height": height,
            "margin": {"l": 56, "r": 24, "t": 64, "b": 52},
            "hovermode": "closest",
            "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
            "xaxis": _axis(x, showgrid=False, tickangle=0),
            "yaxis": _axis(y, showline=False, ticks=""),
            "shapes": [],
            "annotations": [],
        }

    def rule(self, *, x: float | None = None, y: float | None = None, name: str = "", **line: Any) -> None:
        """Draw a line across the figure, upright at `x` or level at `y`."""
        place = {"x0": 0, "x1": 1, "xref": "x domain", "y0": y, "y1": y}
        if x is not None:
            place = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain"}
        line = {"color": MUTED, "width": 1, "dash": "dot", **line}
        self.layout["shapes"].append({"type": "line", "name": name, "layer": "above", "line": line, **place})

    def note(self, text: str, *, colour: str = MUTED, size: int = 12, **place: Any) -> None:
        """Write a text beside the marks; `x` is a share of the width unless `xref` says otherwise."""
        settings = {"xref": "paper", "showarrow": False, "font": {"color": colour, "size": size}, **place}
        self.layout["annotations"].append({"text": text, **settings})

    def plotly(self) -> go.Figure:
        """The figure as plotly's object, for a picture or Weights & Biases.

        Raises:
            ValueError: A setting is none of plotly's.
        """
        return go.Figure({"data": self.data, "layout": {"template": {}, **self.layout}})


def _axis(settings: dict[str, Any], **of_side: Any) -> dict[str, Any]:
    title = {"font": {"size": 13, "color": MUTED}, "standoff": 10, **settings.get("title", {})}
    return {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickcolor": MUTED,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "tickfont": {"color": MUTED, "size": 12},
        **of_side,
        **settings,
        "title": title,
    }
