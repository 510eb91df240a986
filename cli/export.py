"""`adaptconv export`: a trained network as ONNX, int8, for ExecuTorch or LiteRT, or a program of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.export import executorch, litert, onnx, program
from lit_adaptconv.export.check import Agreement, Run, compare
from lit_adaptconv.export.metadata import describe
from lit_adaptconv.export.quantize import quantize_int8
from lit_adaptconv.files import write_atomically
from lit_adaptconv.measure.timing import Spread, Task, in_turns
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.loading import check_seconds, check_writable, load_trained, network_parser, set_threads
from lit_adaptconv.train.parser import OneLineParser
from lit_adaptconv.verdict.metric import ACCURACY

from .fitted import text

Format = Literal["onnx", "executorch", "litert", "torch-export"]


@dataclass(frozen=True)
class Exported:
    """A network outside of this package.

    Attributes:
        name: What it is called in the table.
        content: What the file will hold.
        agreement: How it compares with PyTorch.
        run: What computes it.
    """

    name: str
    content: bytes
    agreement: Agreement
    run: Run


def export_parser(args: list[str]) -> OneLineParser:
    """The parser of a command line."""
    parser = network_parser("export", "Write a trained network to a file that runs without this package.", args)
    parser.usage = "adaptconv export CHECKPOINT --format FORMAT --output FILE [options]"
    parser.add_argument("--format", type=Format, default="onnx", help="What to write.")
    parser.add_argument("--output", type=str | None, help="File to write.")
    parser.add_argument(
        "--quantize", type=Literal["int8"] | None, help="Number type of convolutions (ONNX, ExecuTorch)."
    )
    parser.add_argument("--calibration_images", type=int, default=512, help="Training images that tell int8's ranges.")
    parser.add_argument("--test_images", type=int | None, help="Test images to compare on; by default all of them.")
    parser.add_argument("--threads", type=int | None, help="CPU threads; by default as many as PyTorch takes.")
    parser.add_argument("--seconds", type=float, default=1.0, help="How long the latencies are measured.")
    return parser


def export(args: list[str]) -> int:
    """Write a trained network to a file, after comparing it with PyTorch on the test images."""
    if args and not args[0].startswith("-"):
        args = ["--ckpt_path", *args]
    trained = load_trained(export_parser(args), args, needs_checkpoint=True)
    options = trained.options
    if options["output"] is None:
        raise UserError("export needs --output FILE")
    output = Path(options["output"])
    check_writable(output)
    for name in ("calibration_images", "test_images"):
        if options[name] is not None and options[name] < 1:
            raise UserError(f"{name} must be at least 1, got {options[name]}")
    set_threads(options["threads"])
    check_seconds(options["seconds"])
    model, data = trained.image_classifier("export")
    data.prepare_data()
    data.setup("test")
    calibration = None if options["quantize"] is None else options["calibration_images"]
    exported = exported_as(options["format"], model, data, options["test_images"], calibration)
    write_atomically(output, lambda file: file.write(exported[-1].content))
    _print(Console(), model, exported, options["seconds"])
    Console().print(text(f"Wrote {output} ({len(exported[-1].content):,} bytes)"), soft_wrap=True)
    return 0


def exported_as(
    format: Format, model: ImageClassifier, data: ImageData, images: int | None, calibration_images: int | None
) -> list[Exported]:
    """Export a network, and compare it with PyTorch on test images.

    Args:
        format: What it becomes.
        model: The classifier.
        data: Its data, set up for the test.
        images: How many test images to compare on; None takes all.
        calibration_images: How many training images tell the ranges of int8; None leaves int8 out.

    Returns:
        It in float32 and, if that is asked for, in int8.

    Raises:
        UserError: The format has no int8, the network can't be exported, or the file computes something else.
    """
    if calibration_images is not None and format not in ("onnx", "executorch"):
        raise UserError(f"--quantize is for --format onnx and --format executorch, not for {format}")
    way = _way(format)
    lowered = way.lower(model.network, model.image_shape)

    def written(name: str, more: Mapping[str, Any]) -> Exported:
        agreement = compare(way.run(way.save(lowered, {})), model.network, data.test_dataloader(), images)
        if not more:
            agreement.check(name)
        batch = "N" if format in ("onnx", "torch-export") else "1"
        content = way.save(lowered, {**describe(model, data, agreement, batch), **more})
        return Exported(name, content, agreement, way.run(content))

    exported = [written(way.name, {})]
    if calibration_images is not None:
        data.setup("fit")
        calibration = data.calibration_dataloader(calibration_images)
        if format == "onnx":
            lowered = quantize_int8(lowered, calibration)
        else:
            lowered = executorch.to_executorch(model.network, model.image_shape, calibration)
        how = f"int8, static, ranges from {calibration_images} images of the training split"
        float32 = {"float32_test_accuracy": exported[0].agreement.accuracy, "quantization": how}
        exported.append(written(f"{way.name}, int8", float32))
    return exported


@dataclass(frozen=True)
class _Way:
    """How a network gets into a file: lowered, saved with metadata, and run by what has the name."""

    name: str
    lower: Callable[[nn.Module, tuple[int, int, int]], Any]
    save: Callable[[Any, Mapping[str, Any]], bytes]
    run: Callable[[bytes], Run]


def _way(format: Format) -> _Way:
    if format == "onnx":
        return _Way("onnxruntime", onnx.to_onnx, onnx.save, onnx.runtime)
    if format == "executorch":
        return _Way("ExecuTorch", executorch.to_executorch, executorch.save, executorch.runtime)
    if format == "litert":
        return _Way("LiteRT", litert.to_litert, litert.save, litert.runtime)
    return _Way("exported program", program.to_program, program.save, program.load)


def _print(console: Console, model: ImageClassifier, exported: list[Exported], seconds: float) -> None:
    image = torch.zeros(1, *model.image_shape)
    with torch.inference_mode():
        calls = [partial(model.network, image), *(partial(e.run, image) for e in exported)]
        times = in_turns([Task(call) for call in calls], seconds=seconds, core=True)
    first = exported[0].agreement
    table = Table("", "PyTorch", *(e.name for e in exported), title=f"{type(model.network).__name__}, {model.kind}")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row(
        f"Test accuracy ({first.images:,} images)",
        ACCURACY.shown(first.torch_accuracy),
        *(ACCURACY.shown(e.agreement.accuracy) for e in exported),
    )
    table.add_row("Largest difference of a logit", "", *(f"{e.agreement.largest_difference:.1e}" for e in exported))
    table.add_row("One image, median", *(f"{1000 * t.spread.median:.3g} ms" for t in times))
    table.add_row("Quartiles", *(_quartiles(t.spread) for t in times))
    table.add_row("Ratio to PyTorch", *(f"{t.over(times[0]).median:.2f}" for t in times))
    console.print(table)
    console.print(
        f"Timed in turn, n = {len(times[0].seconds)}, threads: {torch.get_num_threads()}, torch {torch.__version__}.",
        highlight=False,
    )


def _quartiles(spread: Spread) -> str:
    return f"{1000 * spread.lower:.3g}–{1000 * spread.upper:.3g} ms"
