"""What the paper claims, and the rules by which the measurements decide: see `benchmarks/results.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.facts import Facts

Sweeps = Callable[[str], Facts]

HOLDS, PART, FAILS = "holds", "holds in part", "does not hold"
ADAPTIVE = ("adaptive", "adaptive_generator_1", "adaptive_separable", "low_rank", "bilinear")
"""Arms with kernels computed from the image."""


def parameters(sweeps: Sweeps) -> str:
    """99 % on MNIST with 66 times fewer parameters than LeNet: a mean over the seeds, by either reading of LeNet."""
    small = sweeps("mnist_small")
    reached = [any(small.mean(arm, budget) >= 0.99 for arm in ADAPTIVE) for budget in ("934", "6531")]
    return _by_number(reached)


def speed(sweeps: Sweeps) -> str:
    """At least twice as fast: at most half the steps to 98 %, claimed, at every budget at which it can be tested."""
    small = sweeps("mnist_small")
    budgets = ("934", "2500", "6531")
    return _by_number([any(small.claims_ratio(arm, b, 0.98, 0.5) for arm in ADAPTIVE) for b in budgets])


def _by_number(held: Sequence[bool]) -> str:
    return HOLDS if all(held) else PART if any(held) else FAILS


CLAIMS: dict[str, Callable[[Sweeps], str]] = {"parameters": parameters, "speed": speed}
