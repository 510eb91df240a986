"""How arms look in every figure: colour, symbol, dash, and their names made harmless."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from lit_adaptconv.report.drawing import Drawing
from lit_adaptconv.verdict.statistics import Array

COLOURS = ("#6c7a89", "#2f7ed8", "#d9660b", "#12936f", "#b84d9b", "#9a7d0a", "#7d63d6", "#d64550")
"""Grey for the primary arm, then colours with a contrast of 3 on white and on near-black; symbols differ as well."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star", "hexagon")
DASHES = ("solid", "12px,4px", "3px,3px", "14px,3px,3px,3px")
LONGEST_NAME = 24
_LABEL_HEIGHT = 0.055  # of a figure's height: less, and two labels touch


@dataclass(frozen=True)
class ArmStyle:
    """How an arm looks in every figure.

    Attributes:
        name: Its name as the plan has it.
        number: Its number, 0 for the primary arm.
    """

    name: str
    number: int

    @property
    def label(self) -> str:
        """Its name as text that plotly shows as it is."""
        return plain(self.name)

    @property
    def colour(self) -> str:
        """Colour of its lines and markers."""
        return COLOURS[self.number % len(COLOURS)]

    @property
    def shade(self) -> str:
        """Colour of its bands."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},0.16)"

    @property
    def symbol(self) -> str:
        """Symbol of its markers."""
        return SYMBOLS[self.number % len(SYMBOLS)]

    def line(self, width: float = 2.2) -> dict[str, Any]:
        """Its line; arms differ in their dash, so that of lines that coincide each is seen."""
        dash = DASHES[(self.number + self.number // len(COLOURS)) % len(DASHES)]
        return {"color": self.colour, "width": width, "dash": dash}

    def marks(self, filled: Sequence[bool]) -> dict[str, Any]:
        """Its markers, filled or hollow."""
        symbols = [self.symbol if full else f"{self.symbol}-open" for full in filled]
        return {"color": self.colour, "size": 11, "symbol": symbols, "line": {"width": 2, "color": self.colour}}

    def trace(self, **settings: Any) -> dict[str, Any]:
        """A trace of this arm, which the page hides with the arm."""
        of_arm = {"name": self.label, "legendgroup": str(self.number), "meta": {"arm": self.number}}
        return {"type": "scatter", **of_arm, **settings}


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """The style of each arm, by its name; the primary arm first."""
    return {name: ArmStyle(name, number) for number, name in enumerate(arms)}


def plain(text: str, longest: int = LONGEST_NAME) -> str:
    """Text of others as plotly shows it unchanged: on one line, cut, its `<` no markup."""
    text = " ".join(text.split())
    return html.escape(text if len(text) <= longest else text[: longest - 1] + "…", quote=False)


def label_ends(made: Drawing, ends: Sequence[tuple[ArmStyle, float]], low: float, high: float) -> None:
    """Write each arm's name to the right of where its line ends, moved apart where they would touch or leave the axis.

    Args:
        made: The figure; its y axis shall go from `low` to `high`.
        ends: Each arm and the height at which its line ends.
        low: Lower end of the y axis.
        high: Upper end of the y axis.
    """
    places = spread_apart([y for _, y in ends], _LABEL_HEIGHT * (high - low), low, high)
    for (style, _), y in zip(ends, places, strict=True):
        made.note(style.label, name=f"arm {style.number}", x=1.01, y=float(y), xanchor="left", colour=style.colour)
    longest = max((len(style.name[:LONGEST_NAME]) for style, _ in ends), default=0)
    made.layout["margin"]["r"] = 24 + 7 * longest
    made.layout["showlegend"] = False
    made.layout["yaxis"]["range"] = [low, high]


def spread_apart(values: Sequence[float], gap: float, low: float = -inf, high: float = inf) -> list[float]:
    """The values in the same order, moved as little as makes neighbours at least `gap` apart, between `low` and `high`.

    Where they do not all fit, they are as far apart as they can be.
    """
    last = len(values) - 1
    gap = min(gap, (high - low) / max(last, 1))
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[float]] = []  # sum of what its members want for its lowest, and how many they are
    for i in order:
        groups.append([values[i], 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] + groups[-2][1] * gap > groups[-1][0] / groups[-1][1]:
            total, n = groups.pop()
            groups[-1][0] += total - n * groups[-1][1] * gap
            groups[-1][1] += n
    placed = [total / n + k * gap for total, n in groups for k in range(int(n))]
    placed = [min(high, max(low + k * gap, min(place, high - (last - k) * gap))) for k, place in enumerate(placed)]
    moved = [0.0] * len(values)
    for i, place in zip(order, placed, strict=True):
        moved[i] = place
    return moved


def rounded(values: Array | Sequence[float], digits: int = 6) -> list[float | None]:
    """Numbers with so many digits, for a small page; None for what is not finite."""
    return [float(f"{v:.{digits}g}") if abs(v) < float("inf") else None for v in map(float, values)]
