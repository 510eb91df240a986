"""The figures of a sweep: those for a picture or Weights & Biases, and all that the page's selectors choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lit_adaptconv.measure.budget import Budget, Limits
from lit_adaptconv.report.content import SweepContent
from lit_adaptconv.report.curves import curves_figure, median_curves
from lit_adaptconv.report.drawing import Drawing
from lit_adaptconv.report.pareto import SIZE_WORDS, Size, pareto_figure
from lit_adaptconv.report.ratio import difference_figure, ratio_figure
from lit_adaptconv.report.smallest import smallest_figure
from lit_adaptconv.report.survival import survival_figure
from lit_adaptconv.report.tuning import tuning_figure
from lit_adaptconv.verdict.summaries import MEASURES, Measure

MOST_PICTURED = 6
"""Budgets whose curves are drawn as pictures; of more, this many, evenly spread."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure and where it belongs.

    Attributes:
        place: Its place on the page: pareto, curves, survival, ratio, difference, smallest or tuning.
        choice: What the selectors say when it is shown: target, measure, budget and size, "" where one does not matter.
        drawing: The figure.
    """

    place: str
    choice: tuple[str, str, str, str]
    drawing: Drawing

    @property
    def name(self) -> str:
        """A file's name without its ending."""
        return "-".join([self.place, *(part for part in self.choice if part)])


def page_figures(content: SweepContent) -> Iterator[NamedFigure]:
    """Every figure that the page's selectors choose from.

    Args:
        content: The sweep.
    """
    if content.verdict is not None:
        yield from _figures(content, content.verdict.targets, MEASURES, [*SIZE_WORDS], content.shown_budgets)


def main_figures(content: SweepContent) -> tuple[NamedFigure, ...]:
    """The figures for pictures and Weights & Biases: the main target, in steps, by parameters, at up to six budgets.

    Args:
        content: The sweep.
    """
    if content.verdict is None:
        return ()
    budgets = content.some_budgets(MOST_PICTURED)
    return tuple(_figures(content, (content.verdict.main_target,), ("steps",), ("parameters",), budgets))


def _figures(
    content: SweepContent,
    targets: Sequence[float],
    measures: Sequence[Measure],
    sizes: Sequence[Size],
    budgets: Sequence[Limits | None],
) -> Iterator[NamedFigure]:
    observations = content.observations()
    for size in sizes:
        yield from _named("pareto", ("", "", "", size), pareto_figure(content, size))
    for budget in budgets:
        medians = median_curves(content, budget)
        for measure in measures:
            made = curves_figure(content, budget, measure, medians)
            yield from _named("curves", ("", measure, budget_key(budget), ""), made)
    for target in targets:
        for measure in measures:
            for budget in budgets:
                made = survival_figure(content, observations, budget, target, measure)
                yield from _named("survival", (f"{target:g}", measure, budget_key(budget), ""), made)
            yield from _named("ratio", (f"{target:g}", measure, "", ""), ratio_figure(content, target, measure))
    yield from _named("difference", ("", "", "", ""), difference_figure(content))
    yield from _named("smallest", ("", "", "", ""), smallest_figure(content))
    for budget in budgets:
        yield from _named("tuning", ("", "", budget_key(budget), ""), tuning_figure(content, budget))


def budget_key(budget: Limits | None) -> str:
    """A budget in a choice or a file's name."""
    return "usual" if budget is None else Budget.of(budget).key


def _named(place: str, choice: tuple[str, str, str, str], made: Drawing | None) -> Iterator[NamedFigure]:
    if made is not None:
        yield NamedFigure(place, choice, made)
