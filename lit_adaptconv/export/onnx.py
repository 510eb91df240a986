"""ONNX: the network as standard operators, for any batch size, and onnxruntime to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.check import Run
from lit_adaptconv.export.exporters import check_installed, quiet, reason

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
"""18 is the oldest that PyTorch exports to; deformable convolutions came with 19."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_onnx() -> None:
    """Check that the extra `onnx` is installed.

    Raises:
        UserError: It is not.
    """
    check_installed("ONNX", NEEDED, "onnx")


def to_onnx(network: nn.Module, image_shape: tuple[int, int, int]) -> ModelProto:
    """Export a network to ONNX, from `images` `(N, C, H, W)` to `logits` `(N, num_classes)`, for any N.

    Adaptive layers become convolutions and a product (see `lit_adaptconv.ops.convolutions`).

    Args:
        network: In evaluation mode, on the CPU.
        image_shape: Shape `(C, H, W)` of an image.

    Raises:
        UserError: The extra `onnx` is not installed, or the network cannot be exported; the message says why.

    Examples:
        >>> model = to_onnx(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (1, 8, 8))
        >>> model.graph.input[0].name, model.graph.output[0].name
        ('images', 'logits')
    """
    check_onnx()
    with quiet():
        try:
            program = torch.onnx.export(
                network,
                (torch.zeros(2, *image_shape),),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        except Exception as error:  # the exporter wraps whatever went wrong in the network
            raise UserError(f"{type(network).__name__} cannot be exported to ONNX: {reason(error)}") from error
    assert program is not None
    model: ModelProto = program.model_proto
    return model


def save(model: ModelProto, metadata: Mapping[str, Any]) -> bytes:
    """The content of an `.onnx` file, with the metadata as JSON in `InferenceSession.get_modelmeta()`."""
    import onnx

    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in metadata.items()})
    content: bytes = model.SerializeToString()
    return content


def runtime(model: ModelProto | bytes) -> Run:
    """Make onnxruntime run a model on the CPU, on as many threads as PyTorch uses.

    Args:
        model: The model, or the content of its file.

    Raises:
        UserError: onnxruntime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or its threads take the next one's time
    options.log_severity_level = 3  # errors
    content = model if isinstance(model, bytes) else model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} cannot run the exported network: {reason(error)}"
        ) from error

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(logits)

    return run
