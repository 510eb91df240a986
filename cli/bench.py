"""`adaptconv bench`: what layers cost beside `nn.Conv2d`, at one shape."""

import torch
from jsonargparse import Namespace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lit_adaptconv.errors import UserError, told_in_one_line
from lit_adaptconv.files import write_text
from lit_adaptconv.measure.benchmark import measure, prepare, turns
from lit_adaptconv.measure.candidate import Candidate, Shape
from lit_adaptconv.measure.environment import usable_device
from lit_adaptconv.ops.geometry import two_ints
from lit_adaptconv.train.loading import check_threads, check_writable

from .bench_tables import print_benchmark
from .fitted import text


def bench(given: Namespace) -> int:
    """Time layers, forward and backward, and measure their memory, as ratios to nn.Conv2d's in the same run.

    Returns:
        Exit status.

    Raises:
        UserError: A layer, the shape or the device is not possible, or `output` cannot be written.
    """
    threads, kernel_size, padding, output = given.threads, given.kernel_size, given.padding, given.output
    numbers = threads if isinstance(threads, list) else [torch.get_num_threads() if threads is None else threads]
    _at_least_one(
        batch_size=given.batch_size,
        in_channels=given.in_channels,
        out_channels=given.out_channels,
        rounds=given.rounds,
        threads=min(numbers, default=0),
    )
    try:
        size = two_ints(kernel_size, "kernel_size")
        shape = Shape(
            batch_size=given.batch_size,
            in_channels=given.in_channels,
            out_channels=given.out_channels,
            image_size=two_ints(given.image_size, "image_size"),
            kernel_size=size,
            stride=two_ints(given.stride, "stride"),
            padding=(size[0] // 2, size[1] // 2) if padding is None else two_ints(padding, "padding", least=0),
            dilation=two_ints(given.dilation, "dilation"),
            groups=given.groups,
            dtype=given.dtype,
            device=str(usable_device(given.device)),
            compile=given.compile,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    for number in numbers:
        check_threads(number)
    if output is not None:
        check_writable(output)
    candidates = [Candidate.parse(text) for text in given.layer]
    console = Console()
    with told_in_one_line("building the layers and their input"):
        steps = prepare(candidates, shape)
    with _progress(console) as progress:
        task = progress.add_task("measuring", total=turns(steps, numbers, given.rounds))
        found = measure(steps, shape, numbers, given.rounds, lambda: progress.advance(task))
    print_benchmark(console, found)
    if output is not None:
        write_text(output, found.to_json())
        console.print(text(f"Wrote {output}"), soft_wrap=True)
    return 0


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"{name} must be at least 1, got {number}")


def _progress(console: Console) -> Progress:
    """A bar that is gone when it is done, and is not drawn where the output is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
