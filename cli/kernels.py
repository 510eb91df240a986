"""`adaptconv kernels`: what an adaptive layer's kernels look like for an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kernel_maps import AdaptiveLayer, KernelMaps, adaptive_layers, kernel_maps
from lit_adaptconv.report.figure_files import write_page, write_picture
from lit_adaptconv.report.kernel_figure import Shown, kernel_figure
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.loading import check_writable, load_trained, network_parser
from lit_adaptconv.train.parser import OneLineParser

from .fitted import text

PAGES, PICTURES = (".html",), (".png", ".svg", ".pdf")


def kernels_parser(args: list[str]) -> OneLineParser:
    """The parser of a command line."""
    parser = network_parser("kernels", "Draw the kernels that an adaptive layer makes for an image.", args)
    parser.add_argument(
        "--image", type=str, default="0", help="Which test image: its number or, in a folder, its path."
    )
    parser.add_argument("--layer", type=str | None, help="Name of the layer; by default the first adaptive one.")
    parser.add_argument(
        "--positions", type=list[tuple[int, int]] | None, help="Output pixels, [[row, column], ...]; by default chosen."
    )
    parser.add_argument("--places", type=int, default=4, help="How many positions to choose.")
    parser.add_argument("--channels", type=list[int] | None, help="Output channels; by default the first eight.")
    parser.add_argument("--input_channel", type=int, default=0, help="Channel of the kernels, within its group.")
    parser.add_argument(
        "--output", type=str, default="kernels.html", help="HTML (with a PNG beside it), PNG, SVG, PDF."
    )
    return parser


def kernels(args: list[str]) -> int:
    """Draw the kernels that an adaptive layer makes at chosen places of an image, and how much they vary over it."""
    trained = load_trained(kernels_parser(args), args)
    options = trained.options
    output = Path(options["output"])
    if output.suffix not in (*PAGES, *PICTURES):
        raise UserError(f"figures are written as {', '.join((*PAGES, *PICTURES))}, not as {output.name!r}")
    check_writable(output)
    model, data = trained.image_classifier("kernels")
    name, layer = _layer(model, options["layer"])
    image, label = _image(data, options["image"])
    maps = kernel_maps(model.network, layer, image)
    shown = _shown(maps, options["positions"], options["places"], options["channels"], options["input_channel"])
    figure = kernel_figure(
        _pixels(image, data),
        layer,
        maps,
        shown,
        f"{type(model.network).__name__}, layer {name}: the kernels that it makes for one image",
        f"{type(layer).__name__}. {_subtitle(model, data, trained.checkpoint, image, label)}",
    )
    written, missing = [], None
    if output.suffix in PAGES:
        write_page(figure, output)
        written.append(output)
    picture = output.with_suffix(".png") if output.suffix in PAGES else output
    missing = write_picture(figure, picture)
    if missing is None:
        written.append(picture)
    elif output.suffix in PICTURES:
        raise UserError(missing)
    console = Console()
    variation = maps.variation
    console.print(
        f"{name}: kernels are {100 * variation.mean():.1f} % away from their mean on average over the image, "
        f"{100 * variation.max():.1f} % at most",
        highlight=False,
        soft_wrap=True,
    )
    console.print(text(f"Wrote {' and '.join(map(str, written))}"), soft_wrap=True)
    if missing is not None:
        console.print(missing, highlight=False, soft_wrap=True, markup=False)
    return 0


def _layer(model: ImageClassifier, name: str | None) -> tuple[str, AdaptiveLayer]:
    layers = adaptive_layers(model.network)
    if not layers:
        raise UserError(
            f"{type(model.network).__name__} of kind {model.kind!r} has no layer whose kernels can be "
            "drawn: it takes one of the kinds adaptive, adaptive_separable, adaptive_low_rank, adaptive_residual"
        )
    if name is None:
        name = next(iter(layers))
    if name not in layers:
        raise UserError(f"there is no adaptive layer {name!r}; there are: {', '.join(layers)}")
    return name, layers[name]


def _image(data: ImageData, name: str) -> tuple[Tensor, int]:
    data.prepare_data()
    data.setup("test")
    names = data.predict_names
    if name in names:
        index = names.index(name)
    elif name.isdecimal() and int(name) < len(names):
        index = int(name)
    else:
        raise UserError(f"no test image is called {name!r}: there are {len(names):,}, {names[0]!r} to {names[-1]!r}")
    for images, labels in data.predict_dataloader():
        if index < len(images):
            return images[index], int(labels[index])
        index -= len(images)
    raise UserError(f"test image {name!r} could not be read")


def _shown(
    maps: KernelMaps,
    positions: list[tuple[int, int]] | None,
    places: int,
    channels: list[int] | None,
    input_channel: int,
) -> Shown:
    if not 1 <= places <= 8:
        raise UserError(f"places must be 1 to 8, got {places}")
    outputs, inputs = maps.kernels.shape[:2]
    channels = list(range(min(outputs, 8))) if channels is None else channels
    if not channels or not all(0 <= channel < outputs for channel in channels):
        raise UserError(f"channels must be from 0 to {outputs - 1}, got {channels}")
    if not 0 <= input_channel < inputs:
        raise UserError(f"input_channel must be from 0 to {inputs - 1}, got {input_channel}")
    if positions == []:
        raise UserError("positions names no output pixel: give some, [[row, column], ...], or leave it out")
    if positions is None:
        positions = maps.spread_out(places)
    maps.check(positions)
    return Shown(positions, channels, input_channel)


def _pixels(image: Tensor, data: ImageData) -> NDArray[np.uint8]:
    """The picture `(H, W, 3)` that a normalised image came from."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    levels = (255 * (image * std + mean)).round().clamp(0, 255).to(torch.uint8)
    return levels.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _subtitle(model: ImageClassifier, data: ImageData, checkpoint: Path | None, image: Tensor, label: int) -> str:
    with torch.inference_mode():
        probabilities = model(image[None]).softmax(dim=1)[0]
    best, names = int(probabilities.argmax()), data.class_names
    weights = "" if checkpoint is not None else "; weights as drawn, not trained"
    shows = f"The image shows {names[label]!r}; the" if label >= 0 else "The"
    return f"{shows} network says {names[best]!r} with probability {probabilities[best]:.2f}{weights}"
