"""`adaptconv choose`: which network to take."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.latency import Runtime
from lit_adaptconv.sweep.choosing import choose as choose_network
from lit_adaptconv.train.parser import OneLineParser

from .fitted import fitted, text


def choose(args: list[str]) -> int:
    """Print which network of one or several sweeps to take, in a sentence, then those that are not ruled out.

    Returns:
        Exit status: 0.

    Raises:
        UserError: A folder is not that of a sweep, or it has no network to choose within the limits.
    """
    description = "Say which network to take within limits of size and time, and which are not ruled out beside it."
    parser = OneLineParser(prog="adaptconv choose", description=description)
    parser.add_argument("sweep", nargs="+", type=Path, help="Folders of sweeps, such as runs/digits.")
    parser.add_argument("--at-most", type=int | None, help="Most trainable parameters; by default any number.")
    parser.add_argument("--flops", type=int | None, help="Most FLOPs of a forward pass of one sample.")
    parser.add_argument("--latency", type=str | None, help="Most time that one image may take, such as 2ms.")
    parser.add_argument("--runtime", type=Runtime, default="onnx", help="Whose latency: onnxruntime's or PyTorch's.")
    parser.add_argument(
        "--margin",
        type=float | None,
        help="Difference in the test that is as good as none, in points of a share; by default the plan's.",
    )
    given = parser.parse_args(args)
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
    return 0
