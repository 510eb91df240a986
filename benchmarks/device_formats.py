"""Networks of many kinds in every file for devices: its size, accuracy on the digits' test images, and time.

python benchmarks/device_formats.py --kinds standard adaptive --root runs

Prints a Markdown table. Networks are trained by `adaptconv fit` first, but for those of which the root has a run, named
by its kind. Formats whose extra is not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from functools import partial
from pathlib import Path

import torch
from adaptconv_cli.export import Exported, Format, exported_as
from adaptconv_cli.main import main as adaptconv

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import kinds
from lit_adaptconv.measure.environment import device_name, versions
from lit_adaptconv.measure.timing import Task, Times, in_turns
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.loading import load_run

CALIBRATION = 128
FILES: list[tuple[str, Format, int | None]] = [
    ("onnxruntime", "onnx", CALIBRATION),
    ("executorch", "executorch", CALIBRATION),
    ("litert_torch", "litert", None),
]
"""The package that a format needs, the format, and the images that tell the ranges of int8, where it has that."""


def trained(kind: str, root: Path, epochs: int) -> tuple[ImageClassifier, ImageData]:
    if not (root / kind).is_dir():
        size = ["--model.budget", "5000", "--trainer.max_epochs", str(epochs)]
        options = ["--run.name", kind, "--run.root", str(root), "--run.wandb", "false"]
        assert (
            adaptconv(["fit", "--data", "Digits", "--model.backbone", "ConvNet", "--model.kind", kind, *size, *options])
            == 0
        )
    run = load_run(root / kind)
    assert isinstance(run.module, ImageClassifier)
    assert isinstance(run.data, ImageData)
    run.data.prepare_data()
    run.data.setup("test")
    return run.module, run.data


def files_of(model: ImageClassifier, data: ImageData, compared: int | None) -> tuple[list[Exported], list[str]]:
    """The network in each format that is installed, in float32 and int8; and why it is not in others."""
    found, reasons = list[Exported](), list[str]()
    for package, format, images in FILES:
        if importlib.util.find_spec(package) is None:
            continue
        try:
            found += exported_as(format, model, data, compared, images)
        except UserError as error:
            reasons.append(str(error))
            found += exported_as(format, model, data, compared, None) if images else []
    return found, reasons


def print_row(kind: str, name: str, size: str, accuracy: float, apart: str, taken: Times, first: Times) -> None:
    spread = taken.spread
    image = f"{1e3 * spread.median:.3f} ({1e3 * spread.lower:.3f}–{1e3 * spread.upper:.3f})"
    cells = [kind, name, size, f"{100 * accuracy:.2f} %", apart, image, f"{taken.over(first).median:.2f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--kinds", nargs="+", choices=list(kinds()), default=list(kinds()))
    parser.add_argument("--root", type=Path, default=Path("runs/device_formats"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, help="how many test images files are compared on; all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| kind | file | size | accuracy | logits differ by | one image, ms | times PyTorch's |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in options.kinds:
        model, data = trained(kind, options.root, options.epochs)
        files, reasons = files_of(model, data, options.images)
        image = torch.zeros(1, *model.image_shape)
        with torch.inference_mode():
            tasks = [Task(partial(run, image)) for run in (model.network, *(each.run for each in files))]
            first, *times = in_turns(tasks, seconds=options.seconds, turn=0.001, core=True)
        images, accuracy = files[0].agreement.images, files[0].agreement.torch_accuracy
        print_row(f"`{kind}`", "PyTorch", f"{model.parameter_count:,} parameters", accuracy, "", first, first)
        for each, taken in zip(files, times, strict=True):
            agreement, size = each.agreement, f"{len(each.content) / 1000:.1f} kB"
            print_row("", each.name, size, agreement.accuracy, f"{agreement.largest_difference:.0e}", taken, first)
        for reason in reasons:
            print(f"| | {reason} | | | | | |", flush=True)
    packages = versions("onnxruntime", "executorch", "torchao", "litert_torch")
    print(f"{images} test images; {device_name(torch.device('cpu'))}, 1 thread; {packages}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
