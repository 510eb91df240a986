"""`adaptconv choose`: which network to take."""

from __future__ import annotations

from jsonargparse import Namespace
from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.choosing import choose as choose_network

from .fitted import fitted, text


def choose(given: Namespace) -> int:
    """Print which network of one or several sweeps to take, in a sentence, those not ruled out, and its weights.

    Returns:
        Exit status: 0.

    Raises:
        UserError: A folder is not that of a sweep, or it has no network to choose within the limits.
    """
    for folder in given.sweep:
        if not folder.is_dir():
            raise UserError(f"{folder} is not the folder of a sweep: there is no such folder")
    limits = {name: given[name] for name in ("at_most", "flops", "latency", "runtime")}
    choice = choose_network(*given.sweep, **limits, margin=given.margin)
    console = Console()
    for sentence in choice.sentences:
        console.print(text(sentence))
    console.print()
    console.print(fitted(choice.table, console))
    for sentence in choice.unknown:
        console.print(text(sentence))
    for (best, *_), checkpoint in zip(choice.sweeps, choice.checkpoints, strict=True):
        if checkpoint is not None:
            console.print(
                text(f"Weights of {best.arm}, of the seed that is best in validation: {checkpoint}"), soft_wrap=True
            )
    return 0
