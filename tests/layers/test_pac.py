import numpy as np
import torch
from cases import Case, cases
from hypothesis import given, settings
from loop_oracle import Array, array, centre, images, loop_conv, make, outputs, pixel, window
from torch import nn

from lit_adaptconv.layers import PixelAdaptiveConv2d


@settings(max_examples=40)
@given(cases())
def test_agrees_with_the_paper_s_formula_in_loops(case: Case) -> None:
    layer, x = make(case, PixelAdaptiveConv2d), images(case)
    weight, scale = array(layer.weight), array(layer.guide_scale)

    def kernel(i: int, j: int) -> Array:
        middle = pixel(x, centre(case, 0, i), centre(case, 1, j))[:, :, None, None]
        distance = ((scale[:, None, None] * (window(case, x, i, j) - middle)) ** 2).sum(1)
        return weight * np.exp(-distance / 2)[:, None, None]

    np.testing.assert_allclose(outputs(layer, x), loop_conv(case, x, kernel, layer.bias), rtol=1e-9, atol=1e-9)


def test_a_guide_of_scale_zero_leaves_an_ordinary_convolution() -> None:
    layer, x = PixelAdaptiveConv2d(4, 6, 3, padding=1, groups=2), torch.randn(2, 4, 7, 7)
    nn.init.zeros_(layer.guide_scale)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, layer.weight, layer.bias, padding=1, groups=2))


def test_pixels_on_the_other_side_of_an_edge_count_for_nothing() -> None:
    layer = PixelAdaptiveConv2d(1, 1, 3, bias=False)
    nn.init.constant_(layer.guide_scale, 100.0)
    x = torch.ones(1, 1, 3, 4)
    x[..., 2:] = 5
    left, right = layer(x).flatten()
    torch.testing.assert_close(left, layer.weight[0, 0, :, :2].sum())
    torch.testing.assert_close(right, 5 * layer.weight[0, 0, :, 1:].sum())


def test_it_starts_with_the_variance_of_its_input() -> None:
    torch.manual_seed(0)
    for channels, size, dilation in ((1, 3, 1), (4, 3, 3), (16, 3, 1), (16, 2, 1), (16, 2, 2), (4, (1, 4), 2)):
        out = PixelAdaptiveConv2d(channels, 64, size, dilation=dilation)(torch.randn(8, channels, 24, 24))
        assert 0.8 < out.var().item() < 1.25
