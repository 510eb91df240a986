"""A layer that pads by what is in the image exports to ONNX for any batch size, and a runtime computes the same."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from lit_adaptconv.layers import AdaptiveConv2d

# PyTorch's exporter warns about itself; its warnings are not the package's.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("unchecked")]


def agrees_with_a_runtime(layer: nn.Module) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    program = torch.onnx.export(
        layer,
        (torch.randn(3, 4, 9, 8),),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
    )
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    for batch in (1, 5):
        x = torch.randn(batch, 4, 9, 8)
        (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(out), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_runtime_pads_as_the_layer_does(mode: Literal["reflect"]) -> None:
    agrees_with_a_runtime(AdaptiveConv2d(4, 6, 3, padding=1, padding_mode=mode).eval())
