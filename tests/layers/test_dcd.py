import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from loop_oracle import Array, array, images, linear, loop_conv, make, outputs
from torch import nn

from lit_adaptconv.layers import DCDConv2d
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import convert


def hard(z: Array) -> Array:
    return np.clip(z + 3, 0, 6) / 3


@settings(max_examples=40)
@given(cases())
def test_agrees_with_the_paper_s_formula_in_loops(case: Case) -> None:
    layer, x = make(case, DCDConv2d), images(case)
    squeezed = linear(layer.squeeze.linear, x.mean((2, 3)))
    hidden = squeezed * hard(linear(layer.squeeze.gate, squeezed))
    scales = hard(linear(layer.scale, hidden))
    fusion = linear(layer.fusion, hidden).reshape(len(x), *layer.latent)
    left, right, static = array(layer.out_weight), array(layer.in_weight), array(layer.weight)
    kh, kw = case.kernel_size
    kernels = np.zeros((len(x), *static.shape))
    for o in range(case.out_channels):
        kernels[:, o] = scales[:, o, None, None, None] * static[o]
        row = np.einsum("i,nij->nj", left[o], fusion)
        if case.group_in == 1:
            kernels[:, o, 0] += (row @ right.T).reshape(len(x), kh, kw)
            continue
        for c in range(case.group_in):
            of_input = o // case.group_out * case.group_in + c
            kernels[:, o, c, (kh - 1) // 2, (kw - 1) // 2] += row @ right[of_input]
    expected = loop_conv(case, x, lambda i, j: kernels, layer.bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_an_image_without_channel_means_meets_the_static_kernel_alone() -> None:
    layer, x = DCDConv2d(4, 6, 3, padding=1), torch.randn(2, 4, 7, 7)
    x = x - x.mean((2, 3), keepdim=True)
    expected = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_a_resnet_50_has_the_paper_s_number_of_parameters() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        network = torchvision.models.resnet50()

        def in_a_block(name: str, convolution: nn.Conv2d) -> bool:
            return name.startswith("layer") and "downsample" not in name

        convert(network, "dcd", where=in_a_block)
    classifier = 2_277_992 - 2_049_000  # the paper's dynamic classifier, beside an ordinary one
    assert (count_parameters(network) + classifier) / 1e6 == pytest.approx(29.84, abs=0.01)
