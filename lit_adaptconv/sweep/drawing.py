"""The values that tuning tries: drawn from the space alone, evenly, and a longer list begins with the shorter one."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lit_adaptconv.sweep.plan import Search

DIGITS = 6
"""Significant digits of a drawn number: beyond them machines may differ, and with the numbers the ids of trials."""
PATIENCE = 1000
"""So many draws in a row that bring nothing new end the list, as where a range is as narrow as rounding."""


def draw(space: Mapping[str, Search], trials: int | None) -> list[dict[str, Any]]:
    """Draw sets of values, all different, which depend on nothing but the space.

    Ranges are read off a generalised Halton sequence with Faure's permutations (Faure, "Good permutations for extreme
    discrepancy", 1992), in prime bases that divide no number of choices; choices take turns, so that at any time each
    of a list has been drawn as often as the others, or once more. So every choice meets every part of each range.

    Args:
        space: The names, and the values of each.
        trials: Number of sets; None, or more than there are, draws all.
    """
    names = sorted(space)
    counts = {name: len(choices) for name in names if (choices := space[name].choices) is not None}
    primes = (p for p in itertools.count(2) if all(p % q for q in range(2, p)))
    coprime = (p for p in primes if all(count % p for count in counts.values()))
    bases = {name: next(coprime) for name in names if name not in counts}
    turns = _turns(list(counts.values()))
    sizes = [size for name in names if (size := _size(space[name])) is not None]
    everything = math.prod(sizes) if len(sizes) == len(names) else math.inf
    wanted = everything if trials is None else min(trials, everything)
    found: dict[str, dict[str, Any]] = {}
    idle = 0
    for number, places in enumerate(turns, start=1):
        if len(found) >= wanted or idle > PATIENCE + 10 * len(found):
            break
        taken = dict(zip(counts, places, strict=True))
        values = {
            name: search.choices[taken[name]] if search.choices is not None else _value(search, number, bases[name])
            for name, search in ((name, space[name]) for name in names)
        }
        key = json.dumps(values)
        idle = 0 if key not in found else idle + 1
        found.setdefault(key, values)
    return [*found.values()]


def edge(search: Search, tried: Sequence[Any], value: Any) -> str | None:
    """Say that a value is the smallest or the largest of those that were tried.

    Returns:
        None if it is neither, or if the values have no order.
    """
    ordered = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in tried)
    if not ordered or len(set(tried)) < 2 or value not in (min(tried), max(tried)):
        return None
    each = ", ".join(f"{x:g}" for x in sorted(set(tried)))
    of = f"of {each}" if search.choices is not None else f"from {search.low:g} to {search.high:g}"
    return f"{value:g}, the {'smallest' if value == min(tried) else 'largest'} tried {of}"


def _turns(counts: Sequence[int]) -> Iterator[list[int]]:
    """Places in lists of these lengths, which take turns and come to all combinations before one comes again."""
    laps, period = [], 1
    for count in counts:
        common = math.gcd(period, count)
        laps.append((count, period * count // common, common))
        period *= count
    for number in itertools.count():
        yield [(number + number // lap % common) % count for count, lap, common in laps]


def _size(search: Search) -> int | None:
    """Number of values; None for a range of real numbers."""
    if search.choices is not None:
        return len(search.choices)
    return search.high - search.low + 1 if isinstance(search.low, int) and isinstance(search.high, int) else None


def _value(search: Search, number: int, base: int) -> int | float:
    """The value of a range at a place of its sequence."""
    low, high = search.low, search.high
    assert low is not None
    assert high is not None
    share = _radical_inverse(number, base)
    whole = isinstance(low, int) and isinstance(high, int)
    first, last = (low - 0.5, high + 0.5) if whole else (low, high)
    if search.log:
        value = math.exp((1 - share) * math.log(first) + share * math.log(last))
    else:
        value = (1 - share) * first + share * last
    rounded = round(value) if whole else float(f"{value:.{DIGITS}g}")
    return min(max(rounded, low), high)


def _radical_inverse(number: int, base: int) -> float:
    """A whole number's digits, exchanged and read behind the point; what follows a large one is mirrored.

    So the values of one range come in pairs, from below and from above: 1/2, 1/4, 3/4, 1/8, 7/8, 3/8, 5/8.
    """
    rest, digit = divmod(number, base)
    place = _permutation(base)[digit]
    if rest == 0:
        return place / base
    within = _radical_inverse(rest, base)
    return (place + within) / base if 2 * place < base else 1 - (base - 1 - place + within) / base


def _permutation(base: int) -> list[int]:
    """Faure's order of the digits, any beginning of which is spread evenly."""
    if base < 3:
        return [*range(base)]
    half = _permutation(base // 2 if base % 2 == 0 else base - 1)
    if base % 2 == 0:
        return [2 * digit for digit in half] + [2 * digit + 1 for digit in half]
    middle = base // 2
    raised = [digit + (digit >= middle) for digit in half]
    return [*raised[:middle], middle, *raised[middle:]]
