"""`adaptconv latency`: what one image takes in the networks of sweeps and runs."""

from __future__ import annotations

from jsonargparse import Namespace
from rich.console import Console

from lit_adaptconv.sweep.latency import MeasuredFolder, measure_latencies
from lit_adaptconv.verdict.latency_table import latency_note, latency_table

from .fitted import fitted, text


def latency(given: Namespace) -> int:
    """Time each different network of sweeps and runs by turns, in onnxruntime and in PyTorch.

    Returns:
        Exit status: 0.

    Raises:
        UserError: A folder holds no network, a sweep is running in it, a number is out of its range, or onnxruntime is
            not installed.
    """
    numbers = {name: given[name] for name in ("batch_size", "threads", "rounds", "torch_only")}
    console = Console()
    with console.status("") as status:
        measured = measure_latencies(given.folder, **numbers, say=lambda line: status.update(text(line)))
    for each in measured:
        print_latency(console, each)
    return 0


def print_latency(console: Console, measured: MeasuredFolder) -> None:
    """Print the table of a folder, and what else there is to know."""
    console.print(fitted(latency_table(measured.latencies), console))
    for line in (latency_note(measured.latencies), *measured.notes):
        console.print(text(line), soft_wrap=True)
