import itertools

import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import array, before, bilinear, centre, images, linear, make, out_size, outputs, pixel, pointwise
from torch import nn

from lit_adaptconv.layers import DCNv4Conv2d


@settings(max_examples=25)
@given(cases(), st.integers(1, 4))
def test_agrees_with_bilinear_sampling_in_loops(case: Case, group_channels: int) -> None:
    layer, x = make(case, DCNv4Conv2d, group_channels=group_channels), images(case)
    kh, kw = case.kernel_size
    values = pointwise(case, layer.value, x) + array(layer.value.bias)[:, None, None]
    groups, (height, width) = layer.kernel_groups, out_size(case)
    z = np.zeros((len(x), case.out_channels, height, width))
    for i, j in itertools.product(range(height), range(width)):
        made = linear(layer.offsets, pixel(x, centre(case, 0, i), centre(case, 1, j)))
        shifts = made[:, : 2 * groups * kh * kw].reshape(len(x), groups, kh, kw, 2)
        masks = made[:, 2 * groups * kh * kw :].reshape(len(x), groups, kh, kw)
        for n, g, a, b in itertools.product(range(len(x)), range(groups), range(kh), range(kw)):
            row = i * case.stride[0] - before(case, 0) + a * case.dilation[0] + shifts[n, g, a, b, 0]
            column = j * case.stride[1] - before(case, 1) + b * case.dilation[1] + shifts[n, g, a, b, 1]
            channels = slice(g * layer.group_channels, (g + 1) * layer.group_channels)
            z[n, channels, i, j] += masks[n, g, a, b] * bilinear(values[n, channels], row, column)
    weight = array(layer.output.weight)[:, :, 0, 0]
    expected = np.zeros_like(z)
    for o, c in itertools.product(range(case.out_channels), range(case.group_out)):
        expected[:, o] += weight[o, c] * z[:, o // case.group_out * case.group_out + c]
    if case.bias:
        expected += array(layer.bias)[:, None, None]
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_it_starts_as_a_static_convolution_of_the_values() -> None:
    layer, x = DCNv4Conv2d(4, 32, 3, padding=1, stride=2), torch.randn(2, 4, 8, 8)
    assert layer.offsets.bias is not None
    kernels = layer.offsets.bias[36:].view(2, 1, 1, 3, 3).expand(2, 16, 1, 3, 3).flatten(0, 1)
    summed = nn.functional.conv2d(layer.value(x), kernels, stride=2, padding=1, groups=32)
    torch.testing.assert_close(layer(x), layer.output(summed), rtol=1e-4, atol=1e-5)


def test_offsets_and_masks_learn_from_the_first_step() -> None:
    layer = DCNv4Conv2d(3, 4, 3, padding=1)
    layer(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


def test_group_channels_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^group_channels must be at least 1, got 0$"):
        DCNv4Conv2d(4, 4, 3, group_channels=0)
