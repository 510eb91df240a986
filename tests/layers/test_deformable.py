import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import array, before, bilinear, images, loop_conv, make, out_size, outputs, sigmoid
from torch import nn

from lit_adaptconv.layers import DeformableConv2d


@settings(max_examples=25)
@given(cases(), st.booleans(), st.integers(1, 6))
def test_agrees_with_bilinear_sampling_in_loops(case: Case, modulated: bool, offset_groups: int) -> None:
    offset_groups = math.gcd(offset_groups, case.in_channels)
    layer, x = make(case, DeformableConv2d, modulated=modulated, offset_groups=offset_groups), images(case)
    kh, kw = case.kernel_size
    weight = array(layer.offsets.weight)

    plain = dataclasses.replace(case, groups=1, group_in=case.in_channels, group_out=len(weight))
    fields = loop_conv(plain, x, lambda i, j: np.tile(weight, (len(x), 1, 1, 1, 1)), layer.offsets.bias)
    shifts = fields[:, : 2 * offset_groups * kh * kw].reshape(len(x), offset_groups, kh, kw, 2, *out_size(case))
    masks = np.ones((len(x), offset_groups, kh, kw, *out_size(case)))
    if modulated:
        masks = sigmoid(fields[:, 2 * offset_groups * kh * kw :]).reshape(masks.shape)

    expected = np.zeros((len(x), case.out_channels, *out_size(case)))
    group_in, group_out = case.group_in, case.group_out
    share = case.in_channels // offset_groups
    for n, i, j in itertools.product(range(len(x)), range(out_size(case)[0]), range(out_size(case)[1])):
        for a, b, d in itertools.product(range(kh), range(kw), range(offset_groups)):
            down, right = shifts[n, d, a, b, :, i, j]
            row = i * case.stride[0] - before(case, 0) + a * case.dilation[0] + down
            column = j * case.stride[1] - before(case, 1) + b * case.dilation[1] + right
            sampled = bilinear(x[n], row, column) * masks[n, d, a, b, i, j]
            for c in range(d * share, (d + 1) * share):
                outs = slice(c // group_in * group_out, (c // group_in + 1) * group_out)
                expected[n, outs, i, j] += array(layer.weight)[outs, c % group_in, a, b] * sampled[c]
    if case.bias:
        expected += array(layer.bias)[:, None, None]
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("modulated", [True, False])
def test_it_starts_as_an_ordinary_convolution(modulated: bool) -> None:
    layer = DeformableConv2d(4, 6, 3, padding=1, stride=2, groups=2, modulated=modulated)
    x = torch.randn(2, 4, 8, 8)
    weight = layer.weight / 2 if modulated else layer.weight
    expected = nn.functional.conv2d(x, weight, layer.bias, stride=2, padding=1, groups=2)
    torch.testing.assert_close(layer(x), expected)


def test_offsets_learn_from_the_first_step() -> None:
    layer = DeformableConv2d(3, 4, 3, padding=1)
    layer(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


def test_offset_groups_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match=r"^offset_groups must divide in_channels=4, got 3$"):
        DeformableConv2d(4, 4, 3, offset_groups=3)
