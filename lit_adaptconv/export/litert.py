"""LiteRT, which was TensorFlow Lite: the network as a `.tflite` file, for its runtime on phones and boards."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.check import Run
from lit_adaptconv.export.exporters import check_installed, quiet, reason
from lit_adaptconv.export.lowering import to_static_program

METADATA = "metadata.json"
"""The file in the archive behind a network that holds its metadata."""


def to_litert(network: nn.Module, image_shape: tuple[int, int, int]) -> bytes:
    """Convert a network for LiteRT, from one image `(1, C, H, W)` to logits `(1, num_classes)`.

    Args:
        network: In evaluation mode, on the CPU.
        image_shape: Shape `(C, H, W)` of an image.

    Raises:
        UserError: The extra `litert` is not installed, or the network cannot be converted; the message says why.
    """
    check_installed("LiteRT", ["litert_torch", "ai_edge_litert"], "litert")
    module = to_static_program(network, image_shape).module(check_guards=False)
    with quiet():
        import litert_torch

        try:
            # A program's module refuses `eval()`, which the converter calls.
            converted = litert_torch.convert(fx.GraphModule(module, module.graph), (torch.zeros(1, *image_shape),))
            content: bytes = converted.model_content()
        except Exception as error:  # the converter wraps whatever went wrong
            raise UserError(f"{type(network).__name__} cannot be converted to LiteRT: {reason(error)}") from error
    return content


def save(converted: bytes, metadata: Mapping[str, Any]) -> bytes:
    """The content of a `.tflite` file: the network, and behind it, as its tools put files, an archive with metadata."""
    content = io.BytesIO(converted)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(zipfile.ZipInfo(METADATA), json.dumps(dict(metadata), indent=2))
    return content.getvalue()


def runtime(content: bytes) -> Run:
    """Make LiteRT run what `save` gave, image by image, on as many threads as PyTorch uses.

    Raises:
        UserError: LiteRT cannot run it.
    """
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=content, num_threads=torch.get_num_threads())
            interpreter.allocate_tensors()
        except Exception as error:
            raise UserError(f"LiteRT cannot run the exported network: {reason(error)}") from error
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()

    def one(image: Tensor) -> Tensor:
        try:
            interpreter.set_tensor(given["index"], image.numpy())
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"LiteRT cannot run the exported network: {reason(error)}") from error
        return torch.from_numpy(interpreter.get_tensor(answer["index"]))

    def run(images: Tensor) -> Tensor:
        return torch.cat([one(image[None]) for image in images])

    return run
