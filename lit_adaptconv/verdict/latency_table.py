"""Latencies as a table of text."""

from __future__ import annotations

from lit_adaptconv.measure.budget import limits_text
from lit_adaptconv.measure.latency import RUNTIMES, Latencies, milliseconds
from lit_adaptconv.text import visible
from lit_adaptconv.verdict.numbers import NONE, count
from lit_adaptconv.verdict.summaries import SummaryTable


def latency_table(latencies: Latencies) -> SummaryTable:
    """What one image and a batch take, the memory, and the size of the file; a network and runtime a row."""
    noted = any(network.reason for network in latencies.networks)
    rows = []
    for network in latencies.networks:
        head = (visible(network.arm), limits_text(network.budget))
        for runtime, name in RUNTIMES.items():
            in_onnx, found = runtime == "onnx", network.of(runtime)
            if found is None and not network.reason:
                continue
            cells = [NONE] * 4
            if found is not None:
                ends = (found.image.lower, found.image.upper)
                memory = NONE if found.memory is None else f"{found.memory / 2**20:,.2f}"
                cells = [milliseconds(found.image.median), " to ".join(map(milliseconds, ends))]
                cells += [milliseconds(found.batch.median), memory]
            cells += [count(network.onnx_bytes if in_onnx else None)]
            cells += [visible(network.reason) if in_onnx and network.reason else NONE] * noted
            rows.append((*head, name, *cells))
    columns: tuple[str, ...] = (
        "Arm",
        "Budget",
        "Runtime",
        "Image, ms",
        "Quartiles",
        f"Batch of {latencies.batch_size}, ms",
    )
    columns += ("Memory, MiB", "File, bytes", *["Note"] * noted)
    return SummaryTable("Latency", columns, tuple(rows))


def latency_note(latencies: Latencies) -> str:
    """How they were measured, and on what, in a line."""
    load = "" if latencies.load is None else f"; load {latencies.load:.2f} before"
    return f"Medians of {latencies.turns} turns each; {visible(latencies.where)}{load}."
