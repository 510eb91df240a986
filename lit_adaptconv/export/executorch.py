"""ExecuTorch: the network as a `.pte` file, for the runtime that PyTorch has for phones and boards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.check import Batch, Run
from lit_adaptconv.export.exporters import check_installed, quiet, reason
from lit_adaptconv.export.lowering import to_static_program

if TYPE_CHECKING:
    from executorch.exir import EdgeProgramManager

METADATA = "metadata"
"""The method of a `.pte` file that returns its metadata."""

XNNPACK_DIMENSIONS = 6
"""The most that a tensor may have."""


def to_executorch(
    network: nn.Module, image_shape: tuple[int, int, int], calibration: Iterable[Batch] | None = None
) -> EdgeProgramManager:
    """Lower a network for ExecuTorch, from one image `(1, C, H, W)` to logits `(1, num_classes)`.

    XNNPACK computes what it can, portable kernels the rest: all, where a tensor has more dimensions than XNNPACK knows.

    Args:
        network: In evaluation mode, on the CPU.
        image_shape: Shape `(C, H, W)` of an image.
        calibration: Images of the training split, without augmentation: the network is quantised to int8, with ranges
            that are measured on them. None leaves it as it is.

    Raises:
        UserError: The extra `executorch` is not installed, or the network cannot be quantised or lowered; the message
            says why.
    """
    check_installed("ExecuTorch", ["executorch"], "executorch")
    program = to_static_program(network, image_shape)
    if calibration is not None:
        program = _quantized(program, image_shape, calibration)
    values = [node.meta.get("val") for node in program.graph.nodes]
    fits = all(value.dim() <= XNNPACK_DIMENSIONS for value in values if isinstance(value, Tensor))
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()] if fits else [])
        except Exception as error:  # exporters wrap whatever went wrong
            raise UserError(f"{type(network).__name__} cannot be lowered to ExecuTorch: {reason(error)}") from error


def _quantized(
    program: ExportedProgram, image_shape: tuple[int, int, int], calibration: Iterable[Batch]
) -> ExportedProgram:
    """Quantise what XNNPACK computes in 8 bits; weights have a scale for each channel."""
    with quiet():
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        config = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
        try:
            observed = prepare_pt2e(
                program.module(check_guards=False), xnnpack_quantizer.XNNPACKQuantizer().set_global(config)
            )
            with torch.no_grad():
                for images, _ in calibration:
                    for image in images:
                        observed(image[None])
            return torch.export.export(convert_pt2e(observed), (torch.zeros(1, *image_shape),))
        except Exception as error:  # of a tensor that has no scale, or an operator that the quantiser takes for another
            raise UserError(f"the network cannot be quantised for ExecuTorch: {reason(error)}") from error


def save(lowered: EdgeProgramManager, metadata: Mapping[str, Any]) -> bytes:
    """The content of a `.pte` file; its method `metadata` returns the metadata as JSON.

    Raises:
        UserError: The network has an operator that the runtime does not have.
    """
    with quiet():
        from executorch.exir import EdgeProgramManager

        methods = {METADATA: json.dumps(dict(metadata))}
        try:
            whole = EdgeProgramManager({"forward": lowered.exported_program()}, methods)
            content: bytes = whole.to_executorch().buffer
        except Exception as error:
            raise UserError(f"the network cannot be written for ExecuTorch: {reason(error)}") from error
    return content


def runtime(content: bytes) -> Run:
    """Make ExecuTorch's runtime run what `save` gave, image by image, on as many threads as PyTorch uses.

    Raises:
        UserError: The runtime cannot run it.
    """
    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(torch.get_num_threads())  # unsafe only while a network runs
        try:
            program = Runtime.get().load_program(content)
            method = program.load_method("forward")
        except Exception as error:
            raise UserError(f"ExecuTorch cannot run the exported network: {reason(error)}") from error

    def run(images: Tensor) -> Tensor:
        assert program  # whose memory the method needs, without holding it
        # A clone has the strides of its shape; the runtime also looks at those of dimensions of size 1.
        ordered = (image[None].clone(memory_format=torch.contiguous_format) for image in images)
        try:
            return torch.cat([method.execute([image])[0] for image in ordered])
        except RuntimeError as error:
            raise UserError(f"ExecuTorch cannot run the exported network: {reason(error)}") from error

    return run
