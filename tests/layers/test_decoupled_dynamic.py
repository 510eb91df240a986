import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import Case, array, cases, linear, pixel, pointwise, relu, window

from lit_adaptconv.layers import DecoupledDynamicFilter2d


def normalise(filters: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    if filters.shape[-1] > 1:
        deviation = np.sqrt(filters.var(-1, keepdims=True) + 1e-5)
        filters = (filters - filters.mean(-1, keepdims=True)) / deviation
    return filters * scale[:, None] + shift[:, None]


@settings(max_examples=40, deadline=None)
@given(st.one_of(cases(), cases(same_channels=True)), st.booleans())
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, mixed: bool) -> None:
    layer, x = case.layer(DecoupledDynamicFilter2d, pointwise=mixed), case.input()
    z = pointwise(case, layer.pointwise, array(x))
    taps = case.kernel_size[0] * case.kernel_size[1]
    hidden = relu(linear(layer.squeeze.linear, z.mean((2, 3))))
    channel = linear(layer.channel, hidden).reshape(case.samples, case.out_channels, taps)
    channel = normalise(channel, array(layer.channel_scale), array(layer.channel_shift))
    expected = np.zeros((case.samples, case.out_channels, *case.out))
    for i in range(case.out[0]):
        for j in range(case.out[1]):
            spatial = linear(layer.spatial, pixel(z, case.centre(0, i), case.centre(1, j)))[:, None]
            spatial = normalise(spatial, array(layer.spatial_scale), array(layer.spatial_shift))
            under = window(case, z, i, j).reshape(case.samples, -1, taps)
            expected[:, :, i, j] = (spatial * channel * under).sum(2)
    if case.bias:
        expected += array(layer.bias)[:, None, None]
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-9, atol=1e-9)


def test_filters_do_not_depend_on_the_scale_of_what_generates_them() -> None:
    layer = DecoupledDynamicFilter2d(5, 5, 3, padding=1, dtype=torch.float64)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        for generator in (layer.spatial, layer.channel):
            generator.weight.mul_(100)
            generator.bias.mul_(100)
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)
