"""How much of its budget a network uses, and what is said where that is little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lit_adaptconv.measure.budget import UNITS, Budget, Limits, limits_text
from lit_adaptconv.verdict.numbers import NONE

LEAST_SHARE = 0.95
"""A network that uses less of its budget is told of: it is compared with larger ones."""
MOST_TOLD = 8

Sizes = Mapping[str, int | None]
"""Parameters, FLOPs and bytes of a network, by the names that limits have; None for what is not known."""


def budget_shares(budget: Limits | None, sizes: Sizes) -> dict[str, float]:
    """Of each limit of a budget, the share that a network uses; without those of which that is not known."""
    limits = Budget.of(budget).limits if budget else {}
    return {name: size / limit for name, limit in limits.items() if (size := sizes.get(name))}


def budget_share(budget: Limits | None, sizes: Sizes) -> float | None:
    """The share of the limit of which a network uses the most; None where that is not known."""
    return max(budget_shares(budget, sizes).values(), default=None)


def share_text(budget: Limits | None, sizes: Sizes) -> str:
    """The shares as people read them, never rounded across the limit; with their units where not only parameters are.

    Args:
        budget: The budget.
        sizes: What the network has.
    """
    shares = budget_shares(budget, sizes)
    units = {name: f" of {UNITS[name]}" if isinstance(budget, Budget) else "" for name in shares}
    return ", ".join(f"{percent(share)}{units[name]}" for name, share in shares.items()) or NONE


def percent(share: float) -> str:
    """A share as people read it, rounded down."""
    return f"{int(1000 * share + 1e-9) / 10:.1f} %"


def unused_note(networks: Iterable[tuple[str, Limits | None, Sizes]]) -> str | None:
    """One line on the networks that use less than 95 % of their budget; None where there are none.

    Args:
        networks: Name, budget and sizes of each.
    """
    small = []
    for arm, budget, sizes in networks:
        shares = budget_shares(budget, sizes)
        most = max(shares, key=lambda name: shares[name], default=None)
        if most is not None and shares[most] < LEAST_SHARE:
            has = f"{sizes[most]:,}{f' {UNITS[most]}' if isinstance(budget, Budget) else ''}"
            small.append(f"{arm} at {limits_text(budget)} (has {has}, {percent(shares[most])})")
    return f"Less than {100 * LEAST_SHARE:g} % of the budget is used by {_some(small)}." if small else None


def repeated_note(networks: Iterable[tuple[str, Limits | None, object]]) -> str | None:
    """One line on the arms that have one network at several budgets; None where there are none.

    Args:
        networks: Arm, budget, and what is the same of the same network; None where that is not known.
    """
    found: dict[tuple[str, object], list[str]] = {}
    for arm, budget, network in networks:
        if network is not None:
            found.setdefault((arm, network), []).append(limits_text(budget))
    several = [f"{arm} ({' = '.join(budgets)})" for (arm, _), budgets in found.items() if len(budgets) > 1]
    told = "The same network stands at several budgets, and counts once where they are taken together"
    return f"{told}: {_some(several)}." if several else None


def _some(parts: Sequence[str]) -> str:
    """The first parts, and how many more there are."""
    return ", ".join(parts[:MOST_TOLD]) + (f" and {len(parts) - MOST_TOLD:,} more" if len(parts) > MOST_TOLD else "")
