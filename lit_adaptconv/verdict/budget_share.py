"""How much of its budget a network uses, and what is said where that is little."""

from __future__ import annotations

from collections.abc import Iterable

from lit_adaptconv.verdict.numbers import NONE

LEAST_SHARE = 0.95
"""A network that uses less of its budget is told of: it is compared with larger ones."""
MOST_TOLD = 8


def budget_share(parameters: int | None, budget: int | None) -> float | None:
    """Parameters that a network has, of those that it may have; None where either is not known."""
    return parameters / budget if parameters and budget else None


def share_text(share: float | None) -> str:
    """The share as people read it, never rounded across the limit."""
    if share is None:
        return NONE
    return f"{int(1000 * share + 1e-9) / 10:.1f} %"


def unused_note(networks: Iterable[tuple[str, int | None, int | None]]) -> str | None:
    """One line on the networks that use less than 95 % of their budget; None where there are none.

    Args:
        networks: Name, parameters and budget of each.
    """
    small = [
        f"{name} at {budget:,} (has {parameters:,}, {share_text(share)})"
        for name, parameters, budget in networks
        if (share := budget_share(parameters, budget)) is not None and share < LEAST_SHARE
    ]
    if not small:
        return None
    more = f" and {len(small) - MOST_TOLD:,} more" if len(small) > MOST_TOLD else ""
    return f"Less than {100 * LEAST_SHARE:g} % of the budget is used by {', '.join(small[:MOST_TOLD])}{more}."
