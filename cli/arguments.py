"""The options of the commands that take no configuration; they are read before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lit_adaptconv.train.plain_parser import PlainParser

RUNTIME = Literal["onnx", "torch"]
PAIR = int | tuple[int, int]


def bench(parser: PlainParser) -> None:
    """Time layers, forward and backward, and measure their memory, beside nn.Conv2d in the same run."""
    add = parser.add_argument
    add(
        "layer",
        nargs="+",
        type=str,
        help="Conv kinds, with an implementation and options if you like: adaptive, adaptive@reference, "
        "adaptive_low_rank:rank=2, standard:groups=1.",
    )
    add("--batch_size", type=int, default=32, help="Images in a batch.")
    add("--in_channels", type=int, default=16, help="Channels of the input.")
    add("--out_channels", type=int, default=16, help="Channels of the output.")
    add("--image_size", type=PAIR, default=32, help="Pixels of the input, 32 or [32,48].")
    add("--kernel_size", type=PAIR, default=3, help="Taps of the kernel, 3 or [3,5].")
    add("--stride", type=PAIR, default=1, help="Step between output pixels.")
    add("--padding", type=PAIR | None, help="Zeros on each side. The default keeps the image's size at stride 1.")
    add("--dilation", type=PAIR, default=1, help="Distance between taps.")
    add("--groups", type=int, default=1, help="Channel groups.")
    types = Literal["float32", "float64", "bfloat16", "float16"]
    add("--dtype", type=types, default="float32", help="Number type of input and parameters.")
    add("--device", type=str, default="cpu", help="Where to measure, such as cpu or cuda.")
    add("--compile", type=bool, default=False, help="Compile the layers with torch.compile. Hides the parts of a step.")
    threads = "CPU threads, a number or a list such as [1,2]. The default is what PyTorch uses."
    add("--threads", type=int | list[int] | None, help=threads)
    add("--rounds", type=int, default=20, help="How often to take each time; all layers take turns.")
    add("--output", type=Path | None, help="JSON file for everything, with the times of every round.")


def choose(parser: PlainParser) -> None:
    """Say which network to take within limits of size and time, and which others the sweep does not rule out."""
    add = parser.add_argument
    add("sweep", nargs="+", type=Path, help="Folders of sweeps, such as runs/digits.")
    add("--at-most", type=int | None, help="Most trainable parameters.")
    add("--flops", type=int | None, help="Most FLOPs of a forward pass of one sample.")
    add("--latency", type=str | None, help="Longest time for one image, such as 2ms.")
    add("--runtime", type=RUNTIME, default="onnx", help="Whose latency: onnxruntime's or PyTorch's.")
    margin = "Test difference that does not matter, in points for a metric in percent. The default is the plan's."
    add("--margin", type=float | None, help=margin)


def compare(parser: PlainParser) -> None:
    """Print the results of runs in one table, and check them against gates.

    Each gate that is not met prints an error of one line and makes the exit status 1.
    """
    add = parser.add_argument
    add("runs", nargs="+", type=Path, help="Folders of runs, <root>/<name>/<id>; <root>/<name> is the newest run.")
    add("--min_test_accuracy", type=float, default=0.0, help="Lowest test accuracy allowed, such as 0.9.")
    add("--max_test_accuracy", type=float, default=1.0, help="Highest test accuracy allowed, such as 0.99.")
    add("--max_parameters", type=int | None, help="Most trainable parameters allowed.")
    add("--max_bytes", type=int | None, help="Most bytes of weights allowed, in the run's number type.")
    add("--max_latency", type=str | None, help="Longest time allowed for one image, such as 2ms.")
    add("--runtime", type=RUNTIME, default="onnx", help="Whose latency: onnxruntime's or PyTorch's.")
    add("--baseline", type=Path | None, help="JSON of an earlier comparison to compare runs of the same name with.")
    add(
        "--max_drop",
        type=float | None,
        help="Most test accuracy that a run may lose to the mean of the baseline's runs of its name (default: 0.01).",
    )
    add("--json", type=str | None, help="JSON file to write; - prints JSON and nothing else.")
    add("--markdown", action="store_true", help="Print the table as Markdown, for a job summary.")


def configs(parser: PlainParser) -> None:
    """List the configurations that come with the package, or print one."""
    parser.add_argument("name", nargs="?", type=str, help="The one to print, such as digits/lenet5_adaptive.")


def kinds(parser: PlainParser) -> None:
    """List the conv kinds: what each computes, its parameters and its FLOPs."""


def latency(parser: PlainParser) -> None:
    """Time each network of sweeps and runs in onnxruntime and in PyTorch on the CPU; all networks take turns."""
    add = parser.add_argument
    add("folder", nargs="+", type=Path, help="Folders of sweeps or runs; <root>/<name> is the newest run of a name.")
    add("--batch_size", type=int, default=32, help="Images in a batch, timed beside a single image.")
    add("--threads", type=int, default=1, help="CPU threads of both runtimes.")
    add("--rounds", type=int, default=60, help="Turns of a single image; a batch gets a third as many.")
    add("--torch_only", action="store_true", help="Leave out onnxruntime.")


def plan(parser: PlainParser) -> None:
    """Say how many seeds a plan needs to find an effect 4 times out of 5, and how long they take to train."""
    add = parser.add_argument
    add("plan", type=str, help="A plan: a file, or the name of one that comes with the package.")
    add("--detect", type=float | None, help="The effect as a difference in the test, in points, such as 0.2.")
    add("--detect-ratio", type=float | None, help="The effect as a ratio of steps, such as 0.85.")
    add("--like", type=Path | None, help="Folder of an earlier sweep to take the spread between seeds from.")
    add("--sd", type=float | None, help="The spread itself: in points, or of the logarithm of a ratio.")


def report(parser: PlainParser) -> None:
    """Write what sweeps have shown so far as a page, a summary, pictures and CSV files."""
    add = parser.add_argument
    add("sweep", nargs="+", type=Path, help="Folders of sweeps, such as runs/digits.")
    output = "Folder to write to. The default is `report` in the sweep's folder; for several sweeps, here."
    add("--output", type=Path | None, help=output)
    add("--open", action="store_true", help="Open the page in a browser.")
    add("--no-pictures", action="store_true", help="Leave out PNG and SVG, which need a browser.")


def status(parser: PlainParser) -> None:
    """Show how far sweeps are and what they have shown. Rebuild the tables of those that are not running."""
    parser.add_argument("sweep", nargs="+", type=Path, help="Folders of sweeps, such as runs/digits.")
    parser.add_argument("--details", action="store_true", help="Add each budget, all intervals and the reasons.")


ARGUMENTS: dict[str, Callable[[PlainParser], None]] = {
    add.__name__: add for add in (bench, choose, compare, configs, kinds, latency, plan, report, status)
}
"""By the name of a command, what adds its options; the docstring is the description in its help."""


def parser_of(name: str) -> PlainParser:
    """The parser of a command."""
    add = ARGUMENTS[name]
    parser = PlainParser(prog=f"adaptconv {name}", description=" ".join((add.__doc__ or "").split()))
    add(parser)
    return parser
