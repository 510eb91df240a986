"""How much of its budget a network uses, and what is said where that is little."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lit_adaptconv.verdict.numbers import NONE

LEAST_SHARE = 0.95
"""A network that uses less of its budget is told of: it is compared with larger ones."""
MOST_TOLD = 8


def budget_share(size: int | None, limit: int | None) -> float | None:
    """What a network has, such as parameters, of what it may have; None where either is not known."""
    return size / limit if size and limit else None


def share_text(share: float | None) -> str:
    """The share as people read it, never rounded across the limit."""
    if share is None:
        return NONE
    return f"{int(1000 * share + 1e-9) / 10:.1f} %"


class Use(NamedTuple):
    """What a network has of a thing that is limited, and the limit; None where either is not known."""

    name: str
    size: int | None
    limit: int | None
    unit: str = "parameters"


def unused_note(networks: Iterable[Use]) -> str | None:
    """One line on the networks that use less than 95 % of their budget; None where there are none.

    Args:
        networks: One each; of several limits, the one of which it uses the most.
    """
    small = [
        f"{use.name} at {use.limit:,}{'' if use.unit == 'parameters' else f' {use.unit}'} "
        f"(has {use.size:,}, {share_text(share)})"
        for use in networks
        if (share := budget_share(use.size, use.limit)) is not None and share < LEAST_SHARE
    ]
    if not small:
        return None
    more = f" and {len(small) - MOST_TOLD:,} more" if len(small) > MOST_TOLD else ""
    return f"Less than {100 * LEAST_SHARE:g} % of the budget is used by {', '.join(small[:MOST_TOLD])}{more}."
