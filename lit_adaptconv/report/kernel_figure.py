"""A picture of the kernels that an adaptive layer makes: where in the image, which kernels, and how much they vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from lit_adaptconv.layers.kernel_maps import AdaptiveLayer, KernelMaps, Position
from lit_adaptconv.layers.residual import ResidualAdaptiveConv2d
from lit_adaptconv.ops.geometry import windows

COLOURS = ("#d1495b", "#00798c", "#e08e0b", "#6a4c93", "#3f7d20", "#8d5524", "#1f4e9e", "#c2185b")
INK, PALE = "#22303c", "#6b7a86"
DIVERGING = ((0.0, "#1d5f91"), (0.25, "#7fb2d6"), (0.5, "#f7f7f5"), (0.75, "#ec9b84"), (1.0, "#b02a3e"))
WIDTH, ABOVE, BETWEEN, BELOW = 1000, 110, 55, 20
"""Width of the figure, and the heights above, between and below its two rows, in pixels."""
GAP = 1.0
"""Space between two kernels, in taps."""


@dataclass(frozen=True)
class Shown:
    """What to show of a layer's kernels.

    Attributes:
        positions: Output pixels, each of which gets a row of kernels.
        channels: Output channels, each of which gets a column.
        input_channel: Channel of the kernels, counted within its group.
    """

    positions: Sequence[Position]
    channels: Sequence[int]
    input_channel: int


def kernel_figure(
    picture: NDArray[np.uint8],
    layer: AdaptiveLayer,
    maps: KernelMaps,
    shown: Shown,
    title: str,
    subtitle: str,
) -> go.Figure:
    """Draw the image with the chosen places, the map of variation, and the kernels at those places.

    Args:
        picture: `(H, W, 3)`, the image that the network saw.
        layer: The layer.
        maps: Its kernels.
        shown: What to show.
        title: Headline.
        subtitle: A smaller line below it.
    """
    kh, kw = maps.kernels.shape[2:4]
    rows, columns = len(shown.positions) + 1, len(shown.channels)
    tile = min(96.0, (WIDTH - 240) / columns)
    mosaic_height = tile * rows * (kh + GAP) / (kw + GAP) + 30
    top = 400.0 * min(1.0, picture.shape[0] / picture.shape[1])
    height = ABOVE + top + BETWEEN + mosaic_height + BELOW
    drawn = height - ABOVE - BELOW
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{}, {}], [{"colspan": 2}, None]],
        row_heights=[top, mosaic_height],
        vertical_spacing=BETWEEN / drawn,
        horizontal_spacing=0.1,
        subplot_titles=(
            "The image, and the pixels under each kernel",
            "How far each pixel’s kernel is from the mean kernel",
            f"The kernels there{_of_channel(maps, shown)}",
        ),
    )
    _draw_image(figure, picture, layer, maps.input_size, shown.positions)
    _draw_variation(figure, maps, shown.positions, y=1 - top / 2 / drawn, length=top)
    _draw_kernels(figure, maps, shown, length=mosaic_height, whole=drawn)
    figure.update_layout(
        title={
            "text": f"<b>{title}</b><br><span style='font-size:13px;color:{PALE}'>{subtitle}</span>",
            "x": 0.02,
            "y": 1 - 36 / height,
            "yanchor": "middle",
            "font": {"size": 19},
        },
        width=WIDTH,
        height=height,
        margin={"l": 40, "r": 90, "t": ABOVE, "b": BELOW},
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        showlegend=False,
    )
    figure.update_annotations(font_size=13, yshift=9, selector={"xref": "paper"})
    return figure


def _of_channel(maps: KernelMaps, shown: Shown) -> str:
    channels = maps.kernels.shape[1]
    return "" if channels == 1 else f", for input channel {shown.input_channel} of {channels}"


def _draw_image(
    figure: go.Figure,
    picture: NDArray[np.uint8],
    layer: AdaptiveLayer,
    input_size: tuple[int, int],
    positions: Sequence[Position],
) -> None:
    figure.add_trace(go.Image(z=picture, hovertemplate="row %{y}, column %{x}<extra></extra>"), row=1, col=1)
    top, bottom, left, right = -0.5, picture.shape[0] - 0.5, -0.5, picture.shape[1] - 0.5
    for number, (y, x, half_height, half_width) in enumerate(_places(layer, input_size, picture.shape[:2], positions)):
        top, bottom = min(top, y - half_height), max(bottom, y + half_height)
        left, right = min(left, x - half_width), max(right, x + half_width)
        colour = COLOURS[number % len(COLOURS)]
        box = {"x0": x - half_width, "x1": x + half_width, "y0": y - half_height, "y1": y + half_height}
        figure.add_shape(type="rect", **box, line={"color": "white", "width": 5}, row=1, col=1)
        figure.add_shape(type="rect", **box, line={"color": colour, "width": 3}, row=1, col=1)
        _label(figure, x - half_width, y - half_height, number, col=1)
    # Room for kernels that reach over the edge, where the layer sees zeros.
    figure.update_xaxes(visible=False, range=[left - 0.3, right + 0.3], constrain="domain", row=1, col=1)
    figure.update_yaxes(visible=False, range=[bottom + 0.3, top - 0.3], constrain="domain", row=1, col=1)


def _places(
    layer: AdaptiveLayer, input_size: tuple[int, int], image_size: tuple[int, ...], positions: Sequence[Position]
) -> list[tuple[float, float, float, float]]:
    """Centre and half size of the kernel at each position, in pixels of the image.

    For a layer deep in the network the image is taken to be scaled to the layer's input.
    """
    plain = layer.adaptive if isinstance(layer, ResidualAdaptiveConv2d) else layer
    axes = windows(input_size, plain.kernel_size, plain.generator_size, plain.stride, plain.padding, plain.dilation)
    places = []
    for position in positions:
        centres, halves = [], []
        for axis in range(2):
            scale = image_size[axis] / input_size[axis]
            reach = plain.dilation[axis] * (plain.kernel_size[axis] - 1)
            centre = position[axis] * plain.stride[axis] - axes[axis].kernel_pad[0] + reach / 2
            centres.append((centre + 0.5) * scale - 0.5)
            halves.append((reach + 1) / 2 * scale)
        places.append((centres[0], centres[1], halves[0], halves[1]))
    return places


def _draw_variation(
    figure: go.Figure, maps: KernelMaps, positions: Sequence[Position], y: float, length: float
) -> None:
    variation = maps.variation.numpy()
    figure.add_trace(
        go.Heatmap(
            z=variation,
            colorscale="Viridis",
            zmin=0,
            zmax=max(float(variation.max()), 0.01),  # rounding is no variation
            colorbar={
                "x": 1.01,
                "y": y,
                "len": 0.9 * length,
                "lenmode": "pixels",
                "thickness": 12,
                "tickformat": ".0%",
            },
            hovertemplate="row %{y}, column %{x}: %{z:.1%}<extra></extra>",
        ),
        row=1,
        col=2,
    )
    for number, (row, column) in enumerate(positions):
        _label(figure, column, row, number, col=2)
    figure.update_xaxes(visible=False, constrain="domain", row=1, col=2)
    figure.update_yaxes(
        visible=False, autorange="reversed", scaleanchor="x2", scaleratio=1, constrain="domain", row=1, col=2
    )


def _label(figure: go.Figure, x: float, y: float, number: int, col: int) -> None:
    """Write a place's number; annotations are the only thing that plotly draws above its shapes."""
    figure.add_annotation(
        x=x,
        y=y,
        text=f"<b>{number + 1}</b>",
        font={"color": "white", "size": 12},
        bgcolor=COLOURS[number % len(COLOURS)],
        bordercolor="white",
        borderwidth=1.5,
        borderpad=3,
        showarrow=False,
        row=1,
        col=col,
    )


def _draw_kernels(figure: go.Figure, maps: KernelMaps, shown: Shown, length: float, whole: float) -> None:
    """Draw one row of kernels for each place, and a last one for the mean kernel; all share one scale."""
    kernels = maps.kernels[:, shown.input_channel].numpy()
    rows = [(f"<b>{number + 1}</b>", kernels[..., row, column]) for number, (row, column) in enumerate(shown.positions)]
    rows.append(("mean", maps.mean[:, shown.input_channel].numpy()))
    kh, kw = kernels.shape[1:3]
    largest = max(float(np.abs(tiles[list(shown.channels)]).max()) for _, tiles in rows) or 1.0
    for line, (label, tiles) in enumerate(rows):
        colour = PALE if label == "mean" else COLOURS[line % len(COLOURS)]
        top = line * (kh + GAP)
        figure.add_annotation(
            x=-1.2,
            y=top + (kh - 1) / 2,
            text=label,
            font={"color": colour, "size": 15},
            xanchor="right",
            showarrow=False,
            row=2,
            col=1,
        )
        for place, channel in enumerate(shown.channels):
            left = place * (kw + GAP)
            where = "mean kernel" if label == "mean" else f"place {line + 1}"
            figure.add_trace(
                go.Heatmap(
                    z=tiles[channel],
                    x0=left,
                    y0=top,
                    coloraxis="coloraxis",
                    xgap=1,
                    ygap=1,
                    hovertemplate=f"{where}, output channel {channel}: %{{z:.3f}}<extra></extra>",
                ),
                row=2,
                col=1,
            )
            frame = {"x0": left - 0.5, "x1": left + kw - 0.5, "y0": top - 0.5, "y1": top + kh - 0.5}
            figure.add_shape(type="rect", **frame, line={"color": colour, "width": 2}, row=2, col=1)
            if line == 0:
                figure.add_annotation(
                    x=left + (kw - 1) / 2,
                    y=-1.4,
                    text=f"channel {channel}" if len(shown.channels) < 9 else str(channel),
                    font={"color": PALE, "size": 12},
                    showarrow=False,
                    row=2,
                    col=1,
                )
    figure.update_xaxes(visible=False, range=[-3, len(shown.channels) * (kw + GAP)], constrain="domain", row=2, col=1)
    figure.update_yaxes(
        visible=False,
        range=[len(rows) * (kh + GAP) - 0.5, -2],
        scaleanchor="x3",
        scaleratio=1,
        constrain="domain",
        row=2,
        col=1,
    )
    figure.update_layout(
        coloraxis={
            "colorscale": DIVERGING,
            "cmin": -largest,
            "cmax": largest,
            "colorbar": {
                "x": 1.01,
                "y": length / 2 / whole,
                "len": min(0.9 * length, 240),
                "lenmode": "pixels",
                "thickness": 12,
            },
        }
    )
