"""The smallest network of each arm that is accurate enough: "n times fewer parameters" is a ratio of two of these."""

from __future__ import annotations

from lit_adaptconv.verdict.summaries import AccuracySummary, SmallestBudget


def smallest_budgets(
    accuracy: tuple[AccuracySummary, ...], targets: tuple[float, ...], primary_arm: str
) -> tuple[SmallestBudget, ...]:
    """For each arm and target, find the fewest parameters with which the mean test accuracy is at least the target.

    Args:
        accuracy: One an arm × budget.
        targets: Test accuracies.
        primary_arm: The arm whose parameters the others' are divided by.

    Returns:
        One an arm × target. There is no ratio where an arm never gets there, or has unfinished trials at a budget up
        to that one (a mean over those that finished would flatter it), or was not tried at a smaller budget that the
        other was tried at (it might have got there), unless it was tried in between and fell short.
    """
    arms = tuple(dict.fromkeys(a.at.arm for a in accuracy))
    tried = {arm: {a.at.budget for a in accuracy if a.at.arm == arm and a.at.n} for arm in arms}
    found = []
    for target in targets:
        enough = {arm: _smallest([a for a in accuracy if a.at.arm == arm], target) for arm in arms}
        theirs, objection = enough[primary_arm]
        for arm in arms:
            mine, reason = enough[arm]
            ratio = None
            if arm != primary_arm:
                reason = reason or objection
                reason = reason or _untried(mine, tried[arm], tried[primary_arm])
                reason = reason or _untried(theirs, tried[primary_arm], tried[arm])
                if not reason and mine and theirs and mine.at.parameters and theirs.at.parameters:
                    ratio = mine.at.parameters / theirs.at.parameters
            at = mine.at if mine else None
            found.append(SmallestBudget(arm, target, at, mine.mean if mine else None, ratio, reason))
    return tuple(found)


def _smallest(accuracy: list[AccuracySummary], target: float) -> tuple[AccuracySummary | None, str]:
    """The smallest that is accurate enough, and what forbids a ratio with it."""
    sized = sorted((a for a in accuracy if a.at.parameters), key=lambda a: a.at.parameters or 0)
    enough = next((a for a in sized if a.mean is not None and a.mean >= target - 1e-9), None)
    if enough is None:
        return None, f"{accuracy[0].at.arm} reaches it at no budget that was tried"
    size = enough.at.parameters or 0
    unfinished = sum(a.at.n_unfinished for a in sized if (a.at.parameters or 0) <= size)
    return enough, f"{unfinished} of {enough.at.arm}'s trials did not finish" if unfinished else ""


def _untried(smallest: AccuracySummary | None, own: set[int | None], others: set[int | None]) -> str:
    """Why this may not be the arm's smallest: a budget of the other's, above those at which the arm fell short."""
    if smallest is None or smallest.at.budget is None:
        return ""
    short = max((b for b in own if b is not None and b < smallest.at.budget), default=0)
    between = [b for b in others if b is not None and short < b < smallest.at.budget]
    return f"{smallest.at.arm} was not tried at {max(between):,} parameters" if between else ""
