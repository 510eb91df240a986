"""The verdict and its tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from lit_adaptconv.report.content import SweepContent
from lit_adaptconv.report.headline import headlines
from lit_adaptconv.report.page import nothing_yet
from lit_adaptconv.text import markdown, markdown_table
from lit_adaptconv.verdict.budget_columns import budgets_of


def summary(contents: Sequence[SweepContent], pictures: Sequence[Sequence[str]]) -> str:
    """Markdown on one or several sweeps.

    Args:
        contents: The sweeps.
        pictures: Of each sweep, its pictures: paths relative to the file.
    """
    return "\n".join(_sweep(content, files) for content, files in zip(contents, pictures, strict=True))


def _sweep(content: SweepContent, pictures: Sequence[str]) -> str:
    sweep, verdict = content.sweep, content.verdict
    lines = [f"# {markdown(sweep.name)}", "", markdown(f"{sweep.network} on {sweep.data} – {content.state}."), ""]
    if verdict is None:
        lines += [markdown(nothing_yet(content)), ""]
    else:
        lines += [f"- **{markdown(line.text)}**" for line in headlines(verdict, verdict.main_target)]
        lines += [f"- {markdown(sentence)}" for sentence in verdict.sentences]
        lines.append("")
        lines += [line for note in verdict.notes for line in (markdown(note), "")]
        lines += [line for file in pictures for line in (f"![{file.rsplit('/')[-1].removesuffix('.png')}]({file})", "")]
        for table in (verdict.summary(), *verdict.tables(), *content.latency_tables):
            lines += [f"## {markdown(table.title)}", "", *markdown_table(table.columns, table.rows), ""]
        for equal in content.equal_costs:
            table = equal.table(metric=verdict.metric, confidence=verdict.confidence)
            lines += [
                f"## {markdown(table.title)}",
                "",
                *(markdown_table(table.columns, table.rows) if table.rows else []),
                "",
            ]
            lines += [line for note in equal.notes for line in (markdown(note), "")]
    if sweep.notes:
        lines += [*(f"- {markdown(note)}" for note in sweep.notes), ""]
    rows = content.results.select(["trial", "arm", "budget", "seed", "status", "reason"]).to_pylist()
    asked = budgets_of(content.results)
    unfinished = [{**row, "budget": at} for row, at in zip(rows, asked, strict=True) if row["status"] != "done"]
    if unfinished:
        cells = tuple(tuple("" if v is None else str(v) for v in row.values()) for row in unfinished)
        columns = ("Trial", "Arm", "Budget", "Seed", "Status", "Reason")
        lines += ["## Trials that did not finish", "", *markdown_table(columns, cells), ""]
    conditions = markdown_table(("What", "Value"), content.conditions)
    return "\n".join([*lines, "## Versions and device", "", *conditions, ""])
