"""`adaptconv profile`: what a network costs, layer by layer."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lit_adaptconv.errors import told_in_one_line
from lit_adaptconv.measure.latency import milliseconds
from lit_adaptconv.measure.profile import Latency, LayerProfile, Profile
from lit_adaptconv.measure.profile import profile as measure
from lit_adaptconv.train.loading import check_seconds, check_writable, load_trained, network_parser, set_threads
from lit_adaptconv.train.parser import OneLineParser

from .fitted import text


def profile_parser(args: list[str]) -> OneLineParser:
    """The parser of a command line."""
    parser = network_parser("profile", "Tell what a network costs: parameters, FLOPs, memory and time.", args)
    parser.add_argument("--batch_size", type=int, default=32, help="Images in a batch, beside the single image.")
    parser.add_argument("--device", type=str, default="cpu", help="Where to measure: cpu, cuda, mps ...")
    parser.add_argument("--threads", type=int | None, help="CPU threads; by default as many as PyTorch takes.")
    parser.add_argument("--seconds", type=float, default=1.0, help="How long each latency is measured.")
    parser.add_argument("--output", type=str | None, help="JSON file to write.")
    return parser


def profile(args: list[str]) -> int:
    """Print a network's parameters, FLOPs, activation memory and time, layer by layer, and its latency."""
    trained = load_trained(profile_parser(args), args)
    options = trained.options
    output = None if options["output"] is None else Path(options["output"])
    if output is not None:
        check_writable(output)
    set_threads(options["threads"])
    chosen = options["batch_size"], options["device"], options["seconds"]
    check_seconds(options["seconds"])
    with told_in_one_line("measuring the network"):
        measured = measure(trained.network, trained.kind, trained.image_shape, *chosen)
    _print(Console(), measured)
    if output is not None:
        measured.write(output)
        Console().print(text(f"Wrote {output}"), soft_wrap=True)
    return 0


def _print(console: Console, measured: Profile) -> None:
    columns = ("Layer", "Output", "Parameters", "FLOPs", "Kept", "Time")
    table = Table(*columns, title=f"{measured.network}, {measured.kind}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for row in measured.layers:
        if row.layer or row.parameters or row.flops or row.activation_bytes or row.time_share >= 0.0005:
            table.add_row(*_cells(row))
    table.add_section()
    table.add_row(
        "Total", "", f"{measured.parameters:,}", f"{measured.flops:,}", _bytes(measured.activation_bytes), "100.0 %"
    )
    console.print(table)
    for latency in measured.latency:
        console.print(_sentence(latency), highlight=False, soft_wrap=True)
    console.print(
        f"FLOPs of one {'×'.join(map(str, measured.input_shape))} image, a multiply-add counting two; Kept: memory "
        f"that training keeps for a batch of {measured.batch_size}; Time: share of a forward pass of that batch. "
        f"{measured.device}, threads: {measured.threads}, torch {measured.versions['torch']}.",
        highlight=False,
    )


def _cells(row: LayerProfile) -> tuple[str, ...]:
    return (
        f"{row.name} [dim]{row.layer}[/dim]",
        "" if row.output_shape is None else "×".join(map(str, row.output_shape)),
        f"{row.parameters:,}",
        f"{row.flops:,}",
        _bytes(row.activation_bytes),
        f"{100 * row.time_share:.1f} %",
    )


def _sentence(latency: Latency) -> str:
    return (
        f"Batch of {latency.batch_size}: {milliseconds(latency.seconds)} ms (quartiles {milliseconds(latency.lower)} "
        f"and {milliseconds(latency.upper)}, n = {latency.calls}), {latency.throughput:,.0f} images a second"
    )


def _bytes(size: int) -> str:
    for unit in ("B", "KiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024  # type: ignore[assignment]
    return f"{size:,.1f} MiB"
