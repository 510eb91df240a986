"""What the page's script reads: figures, trials and curves as JSON that is safe inside a script element."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa

from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.report.axes import MEASURE_NAMES
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.drawing import GRID, INK, MUTED
from lit_adaptconv.report.figures import page_figures
from lit_adaptconv.report.thinning import page_curves
from lit_adaptconv.verdict.budget_columns import budgets_of

PLACES = ("pareto", "curves", "survival", "ratio", "difference", "smallest", "tuning")
PARTS = ("target", "measure", "budget", "size")
GLYPHS = ("●", "■", "◆", "▲", "▼", "⬟", "★", "⬢")
"""The symbols of `style.SYMBOLS`, as characters."""


def model(content: SweepContent) -> dict[str, Any]:
    """Everything that the page's script needs of a sweep.

    Args:
        content: The sweep.
    """
    figures: dict[str, dict[str, Any]] = {place: {} for place in PLACES}
    uses: dict[str, list[str]] = {place: [] for place in PLACES}
    validation, test = content.metric.headings(["val_metric", "test_metric"])
    for made in page_figures(content):
        figures[made.place]["|".join(made.choice)] = {"data": made.drawing.data, "layout": made.drawing.layout}
        uses[made.place] = [part for part, value in zip(PARTS, made.choice, strict=True) if value]
    return {
        "file": "".join(c if c.isalnum() or c in "-_" else "-" for c in content.sweep.name),
        "arms": [
            {"name": s.name, "colour": s.colour, "glyph": GLYPHS[s.number % len(GLYPHS)]} for s in content.arms.values()
        ],
        "measures": MEASURE_NAMES,
        "targets": {f"{target:g}": content.metric.goal(target) for target in content.sweep.targets},
        "values": {"Validation": validation, "Test": test},
        "percent": content.metric.percent,
        "colours": {INK: "ink", MUTED: "muted", GRID: "line", "white": "card"},
        "uses": uses,
        "figures": figures,
        "trials": packed(content.named(content.results)),
        "budgets": _budgets(content),
        "curves": packed(content.named(page_curves(content))),
    }


def _budgets(content: SweepContent) -> dict[str, Any]:
    """The budget of each trial as the table of trials shows it, where other things than parameters are limited."""
    asked = budgets_of(content.results)
    if not any(isinstance(budget, Budget) for budget in asked):
        return {}
    return packed(pa.table({"budget": pa.array(map(budget_name, asked), pa.string())}))


def packed(table: pa.Table) -> dict[str, Any]:
    """A table by columns; what repeats itself as values and codes, or a length; null for what is no finite number."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        same = len(column.unique()) == 1 and not pa.types.is_floating(column.type)
        if len(column) > 1 and (same or column.null_count == len(column)):
            columns[name] = {"values": column[:1].to_pylist(), "length": len(column)}
        elif pa.types.is_string(column.type) and 2 * len(column.unique()) <= len(column):
            encoded = column.dictionary_encode()
            columns[name] = {"values": encoded.dictionary.to_pylist(), "codes": encoded.indices.to_pylist()}
        elif pa.types.is_floating(column.type):
            values = column.to_pylist()
            columns[name] = [None if v is None or not math.isfinite(v) else float(f"{v:.8g}") for v in values]
        else:
            columns[name] = column.to_pylist()
    return columns


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: no `<`, `>` or `&`, whatever the names are."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
