"""The verdict in one line per arm: what is claimed over all budgets together, and at how many budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.summaries import Answer, Comparison
from lit_adaptconv.verdict.verdict import Verdict

ANSWERS: tuple[Answer, ...] = ("better", "worse", "equivalent", "undecided")


@dataclass(frozen=True)
class Headline:
    """What is claimed of an arm against the primary arm: on steps to a target, and on the metric.

    Attributes:
        arm: The arm.
        primary: The arm that it is compared with.
        parts: Answers and their words, first what the plan asks.
    """

    arm: str
    primary: str
    parts: tuple[tuple[Answer, str], ...]

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.arm} against {self.primary}: {'; '.join(text for _, text in self.parts)}."


def headlines(verdict: Verdict, target: float) -> tuple[Headline, ...]:
    """One an arm other than the primary.

    Args:
        verdict: What the sweep shows.
        target: The target to speak of.
    """
    found = []
    for arm in dict.fromkeys(c.arm for c in verdict.comparisons):
        mine = [c for c in verdict.comparisons if c.arm == arm]
        final = [c for c in mine if c.measure == verdict.metric]
        speed = [c for c in mine if c.measure == "steps" and c.target == target]
        asked = sorted((final, speed), key=lambda part: all(c.exploratory for c in part))
        parts = tuple(part for one in asked if one for part in _parts(one, verdict.metric))
        found.append(Headline(arm, verdict.primary_arm, parts))
    return tuple(found)


def _parts(found: Sequence[Comparison], metric: Metric) -> list[tuple[Answer, str]]:
    """The answer over all budgets or at the one, then at how many budgets there are which."""
    first = found[0]
    effect = "" if first.estimate_text == "–" else f", {first.estimate_text}{_unit(first)}"
    where = "over all budgets together" if first.over > 1 else "at the one budget"
    parts = [(first.answer, f"{_word(first, metric)} {where}{effect}{' (exploratory)' if first.exploratory else ''}")]
    if len(found) == 1:
        return parts
    each = [c for c in found if c.over == 1]
    if first.over == 1:
        parts = []
    for answer in ANSWERS:
        some = [c for c in each if c.answer == answer]
        if some and (not parts or answer not in ("undecided", first.answer)):
            mark = " (exploratory)" if some[0].exploratory and first.over == 1 else ""
            parts.append(
                (answer, f"{_word(some[0], metric)} at {len(some)} of {len(each)} budgets{_range(some)}{mark}")
            )
    return parts


def _word(c: Comparison, metric: Metric) -> str:
    on = f"test {metric.name}" if c.measure == metric else f"steps to {metric.goal(c.target or 0.0)}"
    words = {"better": "fewer", "worse": "more"} if c.measure != metric else {}
    if c.measure == metric and c.answer in ("better", "worse"):
        return metric.better if c.answer == "better" else metric.worse
    if c.answer in words:
        return f"{words[c.answer]} {on}"
    return f"equivalent {on}, within {c.margin_text}," if c.answer == "equivalent" else f"undecided on {on}"


def _unit(c: Comparison) -> str:
    return c.measure.unit if isinstance(c.measure, Metric) else ""


def _range(found: Sequence[Comparison]) -> str:
    """The estimates, from the smallest to the largest."""
    known = sorted(c.estimate for c in found if c.estimate is not None)
    if not known:
        return ""
    shown = " to ".join(dict.fromkeys(map(found[0].shown, (known[0], known[-1]))))
    return f" ({shown}{_unit(found[0])})" if isinstance(found[0].measure, Metric) else f" (×\u00a0{shown})"
