"""`adaptconv kinds`: the conv kinds, what each computes and what it costs."""

from __future__ import annotations

import inspect
from dataclasses import replace

from jsonargparse import Namespace
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lit_adaptconv.layers.kinds import BUILT_IN, Kind
from lit_adaptconv.layers.kinds import kinds as known_kinds


def kinds(given: Namespace) -> int:
    """Print the conv kinds: equation, source, what the kernel depends on, parameters and FLOPs of one layer."""
    known = [kind if kind in BUILT_IN else _examined(kind) for kind in known_kinds().values()]
    table = Table("Kind, equation, source", "Kernel", "Parameters", "FLOPs", box=box.SIMPLE_HEAD, leading=1)
    table.columns[0].min_width = max(len(kind.name) for kind in known)
    table.columns[1].max_width = 12
    for column in table.columns[2:]:
        column.justify = "right"
        column.no_wrap = True
    for kind in known:
        cell = Text(kind.name, "bold")
        for line, style in ((kind.equation, ""), (kind.source, "dim"), (kind.caution and f"! {kind.caution}", "")):
            if line:
                cell.append(f"\n{line}", style=f"not bold {style}")
        costs = ("–" if cost is None else f"{cost:,}" for cost in (kind.parameters, kind.flops))
        table.add_row(cell, kind.kernel, *costs)
    console = Console()
    console.print(table)
    console.print(
        "One layer 16→16 at 3×3 with the kind's own options and a bias; FLOPs of one 32×32 image, a multiply-add "
        "counting two. A dotted path, such as my_package.MyConv, names a convolution of your own."
    )
    return 0


def _examined(kind: Kind) -> Kind:
    """Another package's kind, with what its layer tells of itself; that needs PyTorch."""
    from lit_adaptconv.measure.kind_cost import kind_cost

    try:
        cost = kind_cost(kind.name)
    except Exception as error:  # whatever is wrong there, the other kinds are listed
        return replace(kind, caution=f"cannot be used: {' '.join(str(error).split())}")
    told = (inspect.getdoc(kind.layer) or "").partition("\n")[0]
    return replace(kind, equation=kind.equation or told, parameters=cost.parameters, flops=cost.flops)
