"""The page: one HTML file with everything in it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from string import Template

from plotly.offline import get_plotlyjs

from lit_adaptconv.report.axes import MEASURE_NAMES
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.figures import budget_key
from lit_adaptconv.report.headline import ANSWERS, headlines
from lit_adaptconv.report.model import GLYPHS, model, script_json
from lit_adaptconv.report.pareto import SIZE_WORDS
from lit_adaptconv.report.thinning import thinning
from lit_adaptconv.verdict.equal_cost import EqualCost
from lit_adaptconv.verdict.metric import Metric
from lit_adaptconv.verdict.observations import LATENCIES
from lit_adaptconv.verdict.summaries import SummaryTable
from lit_adaptconv.verdict.verdict import Verdict

SCRIPTS = ("theme.js", "figures.js", "trials.js", "page.js")
MOST_SENTENCES = 60
"""Sentences of the verdict that are on the page."""
WORDS, SENTENCES = ("Arm", "Against", "Measure", "Method", "Answer", "Runtime"), ("Reason", "Note")
"""Columns of a table that hold no numbers, and those that are read on several lines."""
MOST_ROWS = 300
"""Rows of a table of the verdict that are on the page; `summary.md` has all."""


def page(contents: Sequence[SweepContent]) -> str:
    """One HTML page on one or several sweeps, which needs nothing but itself.

    Args:
        contents: The sweeps.
    """
    links = [f'<a href="#sweep-{i}">{html.escape(c.sweep.name)}</a>' for i, c in enumerate(contents)]
    return Template(_asset("page.html")).substitute(
        title=html.escape(" · ".join(c.sweep.name for c in contents)),
        css=_asset("page.css"),
        nav=" ".join(links) if len(contents) > 1 else "",
        sections="\n".join(_section(content, i) for i, content in enumerate(contents)),
        footer=f"Made by adaptconv report, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}. It needs no network.",
        plotly=get_plotlyjs(),
        js="\n".join(_asset(name) for name in SCRIPTS),
    )


@cache
def _asset(name: str) -> str:
    return (resources.files("lit_adaptconv.report") / "assets" / name).read_text(encoding="utf-8")


def _section(content: SweepContent, number: int) -> str:
    verdict, sweep, made = content.verdict, content.sweep, model(content)
    cards = _cards(content.metric)
    if not made["figures"]["tuning"]:  # few plans tune
        del cards["tuning"]
    main = f"{verdict.main_target:g}" if verdict else ""
    thinned = " ".join(thinning(content))
    return Template(_asset("sweep.html")).substitute(
        id=f"sweep-{number}",
        name=html.escape(sweep.name),
        lead=html.escape(f"{sweep.network} on {sweep.data} – {content.state}"),
        summary=f'<div class="summary">{_grid(verdict.summary())}</div>' if verdict else "",
        verdict=_verdict(verdict) if verdict else f"<p class=headline>{html.escape(nothing_yet(content))}</p>",
        warning=_warning(content),
        targets=_options([(f"{t:g}", content.metric.goal(t)) for t in verdict.targets] if verdict else [], main),
        measures=_options(list(MEASURE_NAMES.items()), "steps"),
        budgets=_options([(budget_key(b), budget_name(b)) for b in content.shown_budgets], ""),
        arms="".join(_arm(s.name, s.number, s.colour) for s in content.arms.values()),
        figures="".join(_card(place, how, content) for place, how in cards.items()),
        thinned=f"<p class=note>{html.escape(thinned)}</p>" if thinned else "",
        statuses=_options([(status, status) for status in content.statuses], ""),
        latency="" if any(map(content.timed, LATENCIES)) else " hidden",
        tables="".join(map(_table, [*(verdict.tables()[1:] if verdict else ()), *content.latency_tables])),
        plan=html.escape(content.plan if content.plan is not None else "The folder has no plan.yaml."),
        conditions="".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in content.conditions
        ),
        model=script_json(made),
    )


def _cards(metric: Metric) -> dict[str, str]:
    """The places of the figures, in order, and how to read each."""
    side, reaches = ("Right", "at least") if metric.mode == "max" else ("Left", "at most")
    return {
        "pareto": f"Mean test {metric.name} of the finished networks with its interval for new seeds, small marks are "
        f"seeds; point at a mean for more. Ringed: no network of any arm is both smaller and {metric.better}.",
        "curves": f"Validation {metric.name} while training: median over the seeds, band from first to third quartile.",
        "survival": "Higher and further left is better. A stroke marks trials whose training ended short of the "
        "target.",
        "ratio": "Left of 1 an arm needs less than the primary arm. Filled: better, worse or equivalent. Hollow: "
        "undecided; point at it to see why. Intervals are for new seeds; one that goes on has no end there.",
        "difference": f"{side} of 0 an arm is {metric.better} than the primary arm. Filled: better, worse or "
        "equivalent. Hollow: undecided. Intervals are for new seeds; point at one for more.",
        "smallest": f"The fewest parameters with which the mean {metric.name} in validation is {reaches} the target, "
        "read between the budgets, with its interval for new seeds.",
        "tuning": f"What tuning finds with so many sets of values: the validation {metric.name} of the best, on "
        "average over every choice from those that were tried. A line that still rises: the arm would gain from more.",
    }


def nothing_yet(content: SweepContent) -> str:
    """What to say while there is nothing to compare."""
    return f"No trial of {content.sweep.primary_arm} has begun: there is nothing to compare with."


def _verdict(verdict: Verdict) -> str:
    parts = []
    for target in verdict.targets:
        lines = []
        for headline in headlines(verdict, target):
            claims = "; ".join(f"<span class={answer}>{html.escape(text)}</span>" for answer, text in headline.parts)
            against = f"<b>{html.escape(headline.arm)}</b> against {html.escape(headline.primary)}"
            lines.append(f"<p class=headline>{against}: {claims}.</p>")
        full = verdict.sentences_on(target)
        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in full[:MOST_SENTENCES])
        if len(full) > MOST_SENTENCES:
            items += f"<li>and {len(full) - MOST_SENTENCES:,} more.</li>"
        said = f"<details><summary>In full</summary><ul class=sentences>{items}</ul></details>"
        hidden = "" if target == verdict.main_target else " hidden"
        parts.append(f'<div data-target="{target:g}"{hidden}>{"".join(lines)}{said}</div>')
    return "\n".join(parts)


def _warning(content: SweepContent) -> str:
    notes = [*content.sweep.notes]
    if content.busy:
        notes.append("The sweep is running. Chance may show a difference on the way: wait for the last trial.")
    elif content.statuses.get("done", 0) < content.sweep.expected:
        notes.append("Not all trials are done; those that failed are in the table of trials, with the reason.")
    notes += content.verdict.notes if content.verdict else ()
    return f"<p class=note>{'<br>'.join(map(html.escape, notes))}</p>" if notes else ""


def _options(values: Sequence[tuple[str, str]], chosen: str) -> str:
    return "".join(
        f'<option value="{html.escape(value)}"{" selected" if value == chosen else ""}>{html.escape(text)}</option>'
        for value, text in values
    )


def _arm(name: str, number: int, colour: str) -> str:
    glyph, shown = GLYPHS[number % len(GLYPHS)], html.escape(name)
    return (
        f'<label class=arm title="{shown}"><input type=checkbox value={number} checked>'
        f'<span class=swatch style="color:{colour}">{glyph}</span><span>{shown}</span></label>'
    )


def _card(place: str, how: str, content: SweepContent) -> str:
    size = equal = ""
    if place == "pareto":
        untimed = {name for name in LATENCIES if not content.timed(name)}
        options = _options([(size, word) for size, word in SIZE_WORDS.items() if size not in untimed], "parameters")
        size = f'<label class=pick>Compare at equal <select data-pick="size">{options}</select></label>'
        equal = "".join(_equal(found, content) for found in content.equal_costs)
    wide = " wide" if place in ("pareto", "smallest", "tuning") else ""
    return (
        f'<article class="card{wide}" data-place="{place}"><div class=head><h2></h2>{size}</div>'
        f"<p class=how>{html.escape(how)}</p><div class=legend></div><div class=plot role=img></div>{equal}</article>"
    )


def _equal(found: EqualCost, content: SweepContent) -> str:
    """The networks that cost the same, or what plan would have some; shown where the figure's size is this cost."""
    table = found.table(content.metric, content.verdict.confidence if content.verdict else 0.95)
    grid = _grid(table) if table.rows else ""
    notes = "".join(f"<p class=how>{html.escape(note)}</p>" for note in found.notes)
    return f'<div class=equal data-size="{found.cost}" hidden>{grid}{notes}</div>'


def _table(table: SummaryTable) -> str:
    return f"<details><summary>{html.escape(table.title)}</summary>{_grid(table)}</details>"


def _class(column: str) -> str:
    return ' class="text reason"' if column in SENTENCES else " class=text" if column in WORDS else ""


def _answer(kind: str, cell: str) -> str:
    """The class of a cell, with the answer in it, which has a colour."""
    answer = cell.partition(" ")[0]
    return f' class="text {answer}"' if kind == " class=text" and answer in ANSWERS else kind


def _grid(table: SummaryTable) -> str:
    kinds = [_class(name) for name in table.columns]
    head = "".join(f"<th{kind}>{html.escape(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True))
    cells = (
        "".join(f"<td{_answer(kind, cell)}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        for row in table.rows[:MOST_ROWS]
    )
    rows = [f"<tr>{row}</tr>" for row in cells]
    if len(table.rows) > MOST_ROWS:
        left = f"and {len(table.rows) - MOST_ROWS:,} more, in summary.md"
        rows.append(f"<tr><td class=text colspan={len(table.columns)}>{left}</td></tr>")
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div class=scroll tabindex=0>{inner}</div>"
