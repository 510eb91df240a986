"""int8: convolutions and linear layers in 8 bits, with ranges measured on training images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lit_adaptconv.export.exporters import quiet

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTIZED = ("Conv", "Gemm", "MatMul")
"""The operators that hold weights; the arithmetic of generated kernels stays in float32."""


def quantize_int8(model: ModelProto, batches: Iterable[tuple[Tensor, Tensor]]) -> ModelProto:
    """Quantise a float32 model statically, with onnxruntime's quantiser.

    Weights are rounded to 7 bits, each channel on its own scale: with 8, processors without VNNI instructions overflow
    in the middle of a sum, and the accuracy would depend on the machine.

    Args:
        model: From `to_onnx`.
        batches: Images of the training split, without augmentation, on which the range of every value is measured.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch[0].numpy()}

    with tempfile.TemporaryDirectory() as folder, quiet():
        given, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("float32", "prepared", "int8"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=copies_and_sums(onnx.load(prepared)),
        )
        return onnx.load(quantized)


def copies_and_sums(model: ModelProto) -> list[str]:
    """Names of the convolutions with weights of 0 and 1: those in which an adaptive layer copies pixels and adds up."""
    from onnx import numpy_helper

    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in constants and np.isin(constants[node.input[1]], (0, 1)).all()
    ]
