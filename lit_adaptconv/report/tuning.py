"""What tuning was worth: how good the best of so many tried sets of values is, for every arm."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from lit_adaptconv.measure.budget import Limits
from lit_adaptconv.report.axes import metric_axis, room
from lit_adaptconv.report.content import SweepContent, budget_name
from lit_adaptconv.report.drawing import Drawing
from lit_adaptconv.report.style import label_ends, rounded
from lit_adaptconv.verdict.budget_columns import rows_at
from lit_adaptconv.verdict.expected_best import best_of_tried


def tuning_figure(content: SweepContent, budget: Limits | None) -> Drawing | None:
    """The best mean in validation over the number of tried sets of values, a line an arm.

    Args:
        content: The sweep.
        budget: The budget.

    Returns:
        None where nothing was tuned, or a single set of values was tried.
    """
    if content.tuning is None:
        return None
    there, metric = rows_at(content.tuning, budget), content.metric
    tried = {arm: best_of_tried(there.filter(pc.equal(there["arm"], arm)), metric) for arm in content.arms}
    lines = {arm: metric.scale * values for arm, values in tried.items() if values is not None and len(values) > 1}
    if not lines:
        return None
    most = max(map(len, lines.values()))
    x = {"title": {"text": "Sets of values tried"}, "tick0": 1, "dtick": -(-most // 8)}
    made = Drawing(f"Best of tuning, {budget_name(budget)}", x, metric_axis(f"Validation {metric.name}", metric))
    form, unit = (".2f", " %") if metric.percent else (".4g", "")
    for arm, values in lines.items():
        style = content.arms[arm]
        made.data.append(
            style.trace(
                x=[*range(1, len(values) + 1)],
                y=rounded(values),
                mode="lines+markers",
                line=style.line(),
                marker={"symbol": style.symbol, "size": 7},
                hovertemplate=f"%{{fullData.name}}<br><b>%{{y:{form}}}{unit}</b>, the best of %{{x}}<extra></extra>",
            )
        )
    ends = np.concatenate([*lines.values()])
    pad = room(ends.min(), ends.max(), 0.05, 1.0, metric)
    label_ends(
        made, [(content.arms[arm], float(v[-1])) for arm, v in lines.items()], ends.min() - pad, ends.max() + pad
    )
    return made
