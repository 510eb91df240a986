"""`torch.export`: the network as a program that PyTorch loads without this package."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.check import Run
from lit_adaptconv.export.exporters import reason
from lit_adaptconv.ops import convolutions, schema

METADATA = "metadata.json"
"""The extra file in a saved program that holds its metadata."""


def to_program(network: nn.Module, image_shape: tuple[int, int, int]) -> ExportedProgram:
    """Export a network, for any batch size; adaptive layers become PyTorch's own operators.

    Args:
        network: In evaluation mode, on the CPU.
        image_shape: Shape `(C, H, W)` of an image.

    Raises:
        UserError: The network cannot be exported; the message says why.

    Examples:
        >>> program = to_program(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (1, 8, 8))
        >>> program.module()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 2])
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(
                network, (torch.zeros(2, *image_shape),), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
            plain: ExportedProgram = program.run_decompositions(DECOMPOSED)
        except Exception as error:  # whatever the network does that cannot be traced
            raise UserError(f"{type(network).__name__} cannot be exported: {reason(error)}") from error
    return plain


def _plain(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, *call: Any) -> Tensor:
    """The fused operator in PyTorch's own operators."""
    return convolutions.forward(input, generator_weight, generator_bias, bias, schema.as_call(*call))


DECOMPOSED = {schema.FORWARD: _plain}
"""Operators of this package, and what computes them in PyTorch's own."""


def save(program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    """The content of a `.pt2` file."""
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: json.dumps(dict(metadata), indent=2)})
    return content.getvalue()


def load(content: bytes) -> Run:
    """Make what `save` gave computable again."""
    module = torch.export.load(io.BytesIO(content)).module()

    def run(images: Tensor) -> Tensor:
        logits: Tensor = module(images)
        return logits

    return run
