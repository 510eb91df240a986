import numpy as np
import pytest
import torch
from cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import (
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

from lit_adaptconv.layers import Involution2d


@settings(max_examples=40)
@given(depthwise_cases(), st.integers(1, 4), st.booleans())
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, group_channels: int, mixed: bool) -> None:
    layer, x = make(case, Involution2d, group_channels=group_channels, pointwise=mixed), images(case)
    z = pointwise(case, layer.pointwise, x)
    taps = case.kernel_size[0] * case.kernel_size[1]
    expected = np.zeros((len(x), case.out_channels, *out_size(case)))
    for i in range(out_size(case)[0]):
        for j in range(out_size(case)[1]):
            row, column = centre(case, 0, i), centre(case, 1, j)
            steps = [(a, b) for a in range(case.stride[0]) for b in range(case.stride[1])]
            seen = np.mean([pixel(z, row + a, column + b) for a, b in steps], axis=0)
            hidden = linear(layer.reduce, seen) - array(layer.norm.running_mean)
            hidden = hidden / np.sqrt(array(layer.norm.running_var) + 1e-5)
            hidden = relu(hidden * array(layer.norm.weight) + array(layer.norm.bias))
            kernels = linear(layer.span, hidden).reshape(len(x), -1, taps)
            under = window(case, z, i, j).reshape(len(x), -1, taps)
            for c in range(case.out_channels):
                expected[:, c, i, j] = (kernels[:, c // group_channels] * under[:, c]).sum(1)
    if case.bias:
        expected += array(layer.bias)[:, None, None]
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_channels_of_a_group_share_their_kernel() -> None:
    layer = Involution2d(6, 6, 3, padding=1, group_channels=3).eval()
    same = torch.randn(1, 1, 5, 5)
    x = torch.cat((same.expand(1, 3, 5, 5), torch.randn(1, 3, 5, 5)), dim=1)
    out = layer(x)
    torch.testing.assert_close(out[:, 0], out[:, 2])


def test_channels_are_mixed_only_by_the_pointwise_convolution() -> None:
    def reaches_channel_0(layer: Involution2d) -> bool:
        torch.nn.init.zeros_(layer.reduce.weight)  # the kernel no longer depends on the input
        layer.span.bias.data.fill_(1.0)
        x = torch.randn(1, 4, 5, 5)
        changed = x.clone()
        changed[:, 3] += 1
        layer.eval()
        return not torch.equal(layer(x)[:, 0], layer(changed)[:, 0])

    assert not reaches_channel_0(Involution2d(4, 4, 3, padding=1))
    assert reaches_channel_0(Involution2d(4, 4, 3, padding=1, pointwise=True))
    assert reaches_channel_0(Involution2d(4, 6, 3, padding=1))


def test_group_channels_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^group_channels must be at least 1, got 0$"):
        Involution2d(4, 4, 3, group_channels=0)
