"""The tables of `adaptconv bench`."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from lit_adaptconv.measure.benchmark import Benchmark, Limit, MeasuredLayer, StepParts
from lit_adaptconv.measure.candidate import Shape
from lit_adaptconv.measure.count import TRAINING_FACTOR
from lit_adaptconv.measure.latency import milliseconds
from lit_adaptconv.measure.limit import copy_bytes, matrix_size
from lit_adaptconv.measure.timing import Spread
from lit_adaptconv.verdict.numbers import minus


def print_benchmark(console: Console, found: Benchmark) -> None:
    """Print what was measured, where, and what the columns mean."""
    device = found.shape.device
    machine, versions = found.machine, found.machine.versions
    load = "" if machine.load is None else f", load {machine.load:.2f} before"
    console.print(_describe(found.shape), highlight=False)
    console.print(f"{machine.device}, {machine.cores} cores{load}; {machine.system}", highlight=False)
    names = ("lit-adaptconv", "python", "torch", "numba", "numpy")
    console.print(", ".join(f"{name} {versions[name]}" for name in names if name in versions), highlight=False)
    tables = [_costs(found), *(_times(found, index) for index in range(len(found.limits)))]
    tables += [_speeds(found, index, limit) for index, limit in enumerate(found.limits)]
    for split in found.splits:
        limit = next(limit for limit in found.limits if limit.threads == split.threads)
        tables.append(_parts(split, limit))
    for table in tables:
        console.print()
        console.print(table)
    console.print()
    console.print(
        f"Training: forward and backward. Times are medians of n = {found.rounds} rounds, all taken in turns, with the "
        "ratio to nn.Conv2d's in the same round and its quartiles. Peak: the most that a training step holds, with the "
        f"layer, its input and all gradients{_how_peak(found)}. MiB of a pass: the least that it reads and writes, "
        "input, output and their gradients. Share: of the limit, the larger of the times that these bytes take at the "
        f"speed of a copy of {copy_bytes(device) >> 20} MiB, and the pass's FLOPs (training: three times forward's) at "
        f"that of a {matrix_size(device)}×{matrix_size(device)} matrix product. First: the first training step, in "
        "which what no cache on disk holds is compiled.",
        highlight=False,
    )


def _table(*columns: str, title: str | None = None) -> Table:
    """A table that folds its numbers where the screen is narrow, and keeps the names of layers whole."""
    table = Table(
        *columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
    table.columns[0].no_wrap = columns[0] == "Layer"
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    return table


def _describe(shape: Shape) -> str:
    def size(values: tuple[int, int]) -> str:
        return f"{values[0]}×{values[1]}"

    options = [
        f"{name} {size(value)}"
        for name, value, default in (
            ("stride", shape.stride, (1, 1)),
            ("padding", shape.padding, None),
            ("dilation", shape.dilation, (1, 1)),
        )
        if value != default
    ]
    compiled = ["compiled"] if shape.compile else []
    groups = [f"groups {shape.groups}"] if shape.groups > 1 else []
    return (
        f"batch {shape.batch_size}, {shape.in_channels}→{shape.out_channels} channels, {size(shape.image_size)} pixels"
        f", kernel {size(shape.kernel_size)}, {', '.join([*options, *groups, shape.dtype, shape.device, *compiled])}"
    )


def _costs(found: Benchmark) -> Table:
    table = _table("Layer", "Parameters", "MFLOPs", "Kept,\nMiB", "input", "params", "other", "Peak,\nMiB", "ratio")
    base = found.layers[0].peak
    for layer in found.layers:
        kept = layer.kept
        table.add_row(
            layer.candidate.name,
            f"{layer.parameters:,}",
            f"{layer.flops / 1e6:,.1f}",
            *(f"{bytes / 2**20:.2f}" for bytes in (kept.total, kept.input, kept.parameters, kept.other)),
            "–" if layer.peak is None else f"{layer.peak / 2**20:.2f}",
            f"{layer.peak / base:.2f}" if layer.peak is not None and base else "–",
        )
    return table


def _times(found: Benchmark, index: int) -> Table:
    number = found.limits[index].threads
    several = index > 0
    table = _table(
        "Layer",
        "Forward,\nms",
        "ratio",
        "Training,\nms",
        "ratio",
        *((f"{found.limits[0].threads}→{number}\nthreads",) if several else ()),
        title=_threads(number),
    )
    base = found.layers[0].timed[index]
    for layer in found.layers:
        timed = layer.timed[index]
        table.add_row(
            layer.candidate.name,
            milliseconds(timed.forward.spread.median),
            _ratio(timed.forward.over(base.forward)),
            milliseconds(timed.training.spread.median),
            _ratio(timed.training.over(base.training)),
            *((_speedup(layer, index),) if several else ()),
        )
    return table


def _speeds(found: Benchmark, index: int, limit: Limit) -> Table:
    speeds = limit.speeds
    unit, name = (1e12, "TFLOP/s") if speeds.flops >= 1e12 else (1e9, "GFLOP/s")
    table = _table(
        *("Layer", "Pass", "ms", "MiB", name, "share", "first, s"),
        title=f"{_threads(limit.threads)}; limit: {speeds.flops / unit:.3g} {name}, {speeds.bytes / 1e9:.3g} GB/s",
    )
    for layer in found.layers:
        timed = layer.timed[index]
        shares = limit.forward_share(layer, timed), limit.training_share(layer, timed)
        first = f"{layer.first_step:.2f}"
        passes = (
            (layer.candidate.name, "forward", timed.forward, layer.forward_bytes, layer.flops, shares[0], ""),
            ("", "training", timed.training, layer.training_bytes, TRAINING_FACTOR * layer.flops, shares[1], first),
        )
        for of, what, times, bytes, flops, share, seconds in passes:
            speed = f"{flops / times.spread.median / unit:.3g}" if flops else "–"
            mib = f"{bytes / 2**20:.2f}"
            table.add_row(of, what, milliseconds(times.spread.median), mib, speed, f"{100 * share:.3g} %", seconds)
    return table


def _speedup(layer: MeasuredLayer, index: int) -> str:
    return f"×{layer.timed[0].training.over(layer.timed[index].training).median:.2f}"


def _parts(split: StepParts, limit: Limit) -> Table:
    title = f"{split.candidate.name}, {_threads(split.threads)}"
    table = _table("Part of a training step", "ms", "share", "at the limit, ms", title=title)
    total = sum(part.seconds for part in split.parts)
    for part in split.parts:
        least = 2 * part.multiply_adds / limit.speeds.flops
        table.add_row(
            part.name,
            minus(f"{1e3 * part.seconds:,.2f}"),
            minus(f"{100 * part.seconds / total:.0f} %"),
            f"{1e3 * least:.2f}" if part.multiply_adds else "–",
        )
    return table


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _ratio(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.lower:.2f}–{ratio.upper:.2f})"


def _how_peak(found: Benchmark) -> str:
    if found.shape.device != "cpu":
        return ", in PyTorch's allocator"
    return ", by the resident set's high-water mark in a process of its own"
