"""The verdict in a line an arm: at how many budgets it is better, worse, or nothing can be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.summaries import Claim, Comparison
from lit_adaptconv.verdict.verdict import Verdict


@dataclass(frozen=True)
class Headline:
    """What is claimed of an arm against the primary arm: on steps to a target, and on the metric.

    Attributes:
        arm: The arm.
        primary: The arm that it is compared with.
        parts: Claims and their words, first on speed.
    """

    arm: str
    primary: str
    parts: tuple[tuple[Claim, str], ...]

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.arm} against {self.primary}: {', '.join(text for _, text in self.parts)}."


def headlines(verdict: Verdict, target: float) -> tuple[Headline, ...]:
    """One an arm other than the primary.

    Args:
        verdict: What the sweep shows.
        target: The target to speak of.
    """
    metric = verdict.metric
    found = []
    for arm in dict.fromkeys(c.arm for c in verdict.comparisons):
        mine = [c for c in verdict.comparisons if c.arm == arm]
        speed = [c for c in mine if c.measure == "steps" and c.target == target]
        final = [c for c in mine if c.measure == metric]
        goal = f"steps to {metric.goal(target)}"
        parts = _parts(speed, {"better": f"fewer {goal}", "worse": f"more {goal}"}, goal)
        parts += _parts(final, {"better": metric.better, "worse": metric.worse}, f"test {metric.name}")
        found.append(Headline(arm, verdict.primary_arm, tuple(parts)))
    return tuple(found)


def _parts(found: Sequence[Comparison], words: dict[Claim, str], on: str) -> list[tuple[Claim, str]]:
    claims = [c.claim for c in found]
    parts = [
        (claim, f"{word} {_where(claims, claim)}{_estimates([c for c in found if c.claim == claim])}")
        for claim, word in words.items()
        if claim in claims
    ]
    return parts or [("no claim", f"no claim on {on}{_estimates(found)}")]


def _where(claims: Sequence[Claim], claim: Claim) -> str:
    if len(claims) == 1:
        return "at the one budget"
    return f"at {claims.count(claim)} of {len(claims)} budgets"


def _estimates(found: Sequence[Comparison]) -> str:
    """The estimates, from the smallest to the largest."""
    known = sorted(c.estimate for c in found if c.estimate is not None)
    if not known:
        return ""
    measure = found[0].measure
    shown = " to ".join(dict.fromkeys(map(found[0].shown, (known[0], known[-1]))))
    return f" ({shown}{measure.unit})" if isinstance(measure, Metric) else f" (×\u00a0{shown})"
