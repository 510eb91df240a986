"""`adaptconv bench`: what layers cost beside `nn.Conv2d`, at one shape."""

from pathlib import Path
from typing import Literal

import torch
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


def bench(
    *layer: str,
    batch_size: int = 32,
    in_channels: int = 16,
    out_channels: int = 16,
    image_size: int | tuple[int, int] = 32,
    kernel_size: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | None = None,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32",
    device: str = "cpu",
    compile: bool = False,
    threads: int | list[int] | None = None,
    rounds: int = 20,
    output: Path | None = None,
) -> int:
    """Time layers, forward and backward, and measure their memory, as ratios to nn.Conv2d's in the same run.

    Args:
        layer: Conv kinds, each with implementation and options if wanted, kind[@implementation][:option=value,...]:
            adaptive, adaptive@reference, adaptive_low_rank:rank=2 or standard:groups=1.
        batch_size: Images.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        image_size: Size of the input, in pixels.
        kernel_size: Size of the kernels, in taps.
        stride: Step between output pixels.
        padding: Zeros on each side; by default as many as keep the image's size at stride 1.
        dilation: Distance between taps.
        groups: Channel groups.
        dtype: Type of input and parameters.
        device: Where to measure, such as cpu or cuda.
        compile: Whether torch.compile compiles the layers; parts of a step are then not told.
        threads: CPU threads, one number or a list such as [1,2]; by default as many as PyTorch uses.
        rounds: How often each time is taken, all in turns.
        output: JSON file to write everything to, times of every round included.

    Returns:
        Exit status.

    Raises:
        UserError: A layer, the shape or the device is not possible, or `output` cannot be written.
    """
    numbers = threads if isinstance(threads, list) else [torch.get_num_threads() if threads is None else threads]
    _at_least_one(
        batch_size=batch_size,
        in_channels=in_channels,
        out_channels=out_channels,
        rounds=rounds,
        threads=min(numbers, default=0),
    )
    try:
        size = two_ints(kernel_size, "kernel_size")
        shape = Shape(
            batch_size=batch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            image_size=two_ints(image_size, "image_size"),
            kernel_size=size,
            stride=two_ints(stride, "stride"),
            padding=(size[0] // 2, size[1] // 2) if padding is None else two_ints(padding, "padding", least=0),
            dilation=two_ints(dilation, "dilation"),
            groups=groups,
            dtype=dtype,
            device=str(usable_device(device)),
            compile=compile,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    for number in numbers:
        check_threads(number)
    if output is not None:
        check_writable(output)
    candidates = [Candidate.parse(text) for text in layer]
    console = Console()
    with told_in_one_line("building the layers and their input"):
        steps = prepare(candidates, shape)
    with _progress(console) as progress:
        task = progress.add_task("measuring", total=turns(steps, numbers, rounds))
        found = measure(steps, shape, numbers, rounds, lambda: progress.advance(task))
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
