"""Numbers as people read them."""

from __future__ import annotations

NONE = "–"
"""What is not known."""


def minus(text: str) -> str:
    """A number with the sign − in the place of a hyphen."""
    return f"−{text[1:]}" if text.startswith("-") else text


def percentage(share: float) -> str:
    """0.98 as "98 %"."""
    return f"{100 * share:.10g} %"


def p_value(p: float) -> str:
    """A p value to two digits."""
    return f"{p:.2g}"


def ratio(value: float) -> str:
    """A ratio to three digits."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


def count(value: int | None) -> str:
    """A number of parameters, FLOPs or a budget."""
    return NONE if value is None else f"{value:,}"
