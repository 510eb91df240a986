"""`adaptconv kinds`: the conv kinds, what each computes and what it costs."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lit_adaptconv.layers.describe import DESCRIPTIONS
from lit_adaptconv.measure.kind_cost import CHANNELS, IMAGE, KERNEL_SIZE, kind_cost


def kinds() -> int:
    """Print the conv kinds: equation, source, what the kernel depends on, parameters and FLOPs of one layer."""
    table = Table("Kind, equation, source", "Kernel", "Parameters", "FLOPs", box=box.SIMPLE_HEAD, leading=1)
    table.columns[0].min_width = max(map(len, DESCRIPTIONS))
    table.columns[1].max_width = 12
    for column in table.columns[2:]:
        column.justify = "right"
        column.no_wrap = True
    for kind, text in DESCRIPTIONS.items():
        cost = kind_cost(kind)
        cell = Text.assemble((kind, "bold"), f"\n{text.equation}\n", (text.source, "dim"))
        if text.caution:
            cell.append(f"\n! {text.caution}")
        table.add_row(cell, text.kernel, f"{cost.parameters:,}", f"{cost.flops:,}")
    console = Console()
    console.print(table)
    console.print(
        f"One layer {CHANNELS}→{CHANNELS} at {KERNEL_SIZE}×{KERNEL_SIZE} with the kind's own options and a bias; "
        f"FLOPs of one {IMAGE}×{IMAGE} image, a multiply-add counting two."
    )
    return 0
