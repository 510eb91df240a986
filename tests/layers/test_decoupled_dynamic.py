import numpy as np
import torch
from cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import (
    Array,
    array,
    centre,
    depthwise_cases,
    images,
    linear,
    make,
    out_size,
    outputs,
    pixel,
    pointwise,
    relu,
    window,
)

from lit_adaptconv.layers import DecoupledDynamicFilter2d


def normalise(filters: Array, scale: Array, shift: Array) -> Array:
    if filters.shape[-1] > 1:
        deviation = np.sqrt(filters.var(-1, keepdims=True) + 1e-5)
        filters = (filters - filters.mean(-1, keepdims=True)) / deviation
    return filters * scale[:, None] + shift[:, None]


@settings(max_examples=40)
@given(depthwise_cases(), st.booleans())
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, mixed: bool) -> None:
    layer, x = make(case, DecoupledDynamicFilter2d, pointwise=mixed), images(case)
    z = pointwise(case, layer.pointwise, x)
    taps = case.kernel_size[0] * case.kernel_size[1]
    hidden = relu(linear(layer.squeeze.linear, z.mean((2, 3))))
    channel = linear(layer.channel, hidden).reshape(len(x), case.out_channels, taps)
    channel = normalise(channel, array(layer.channel_scale), array(layer.channel_shift))
    expected = np.zeros((len(x), case.out_channels, *out_size(case)))
    for i in range(out_size(case)[0]):
        for j in range(out_size(case)[1]):
            spatial = linear(layer.spatial, pixel(z, centre(case, 0, i), centre(case, 1, j)))[:, None]
            spatial = normalise(spatial, array(layer.spatial_scale), array(layer.spatial_shift))
            under = window(case, z, i, j).reshape(len(x), -1, taps)
            expected[:, :, i, j] = (spatial * channel * under).sum(2)
    if case.bias:
        expected += array(layer.bias)[:, None, None]
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_filters_do_not_depend_on_the_scale_of_what_generates_them() -> None:
    layer = DecoupledDynamicFilter2d(5, 5, 3, padding=1, dtype=torch.float64)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        for generator in (layer.spatial, layer.channel):
            generator.weight.mul_(100)
            generator.bias.mul_(100)
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)
