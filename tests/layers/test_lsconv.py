import itertools

import numpy as np
import pytest
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
from torch import nn

from lit_adaptconv.layers import LSConv2d


def normalise(norm: nn.BatchNorm2d, seen: Array) -> Array:
    deviation = np.sqrt(array(norm.running_var) + 1e-5)
    return (seen - array(norm.running_mean)) / deviation * array(norm.weight) + array(norm.bias)


@settings(max_examples=40)
@given(depthwise_cases(), st.integers(1, 4), st.booleans())
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, group_channels: int, mixed: bool) -> None:
    options = {"generator_size": case.generator_size, "group_channels": group_channels, "pointwise": mixed}
    layer, x = make(case, LSConv2d, **options), images(case)
    z = pointwise(case, layer.pointwise, x)
    context, large = layer.context, array(layer.context.window.weight)[:, 0]
    taps, (height, width) = case.kernel_size[0] * case.kernel_size[1], out_size(case)
    inside = itertools.product(range(z.shape[2]), range(z.shape[3]))
    reduced = np.zeros((len(x), len(large), *z.shape[2:]))
    for row, column in inside:  # beyond the image, features are zero
        reduced[:, :, row, column] = relu(normalise(context.reduce_norm, linear(context.reduce, z[:, :, row, column])))
    spanned = np.zeros((len(x), layer.kernel_groups, taps, height, width))
    for i, j in itertools.product(range(height), range(width)):
        seen = np.zeros((len(x), len(large)))
        for a, b in itertools.product(*map(range, case.generator_size)):
            row, column = (
                centre(case, axis, at) + case.dilation[axis] * step - case.dilation[axis] * (size - 1) // 2
                for axis, (at, step, size) in enumerate(zip((i, j), (a, b), case.generator_size, strict=True))
            )
            seen += large[:, a, b] * pixel(reduced, row, column)
        seen = relu(normalise(context.mix_norm, linear(context.mix, normalise(context.window_norm, seen))))
        spanned[:, :, :, i, j] = linear(layer.span, seen).reshape(len(x), -1, taps)
    mean, deviation = (f(spanned, (2, 3, 4), keepdims=True) for f in (np.mean, np.std))
    kernels = (spanned - mean) / np.sqrt(deviation**2 + 1e-5)
    scale, shift = (array(v).reshape(-1, taps, 1, 1) for v in (layer.kernel_scale, layer.kernel_shift))
    kernels = kernels * scale + shift
    expected = np.zeros((len(x), case.out_channels, height, width))
    for i, j, c in itertools.product(range(height), range(width), range(case.out_channels)):
        under = window(case, z, i, j)[:, c].reshape(len(x), taps)
        expected[:, c, i, j] = (kernels[:, c // layer.group_channels, :, i, j] * under).sum(1)
    if case.bias:
        expected += array(layer.bias)[:, None, None]
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


def test_a_pixel_of_the_large_window_changes_the_kernel_and_not_the_sum_alone() -> None:
    torch.manual_seed(0)
    layer = LSConv2d(8, 8, 3, padding=1).eval()
    x = torch.randn(1, 8, 9, 9)
    changed = x.clone()
    changed[:, :, 1, 1] += 1  # three pixels from the centre, outside its 3×3 kernel
    assert not torch.allclose(layer(x)[..., 4, 4], layer(changed)[..., 4, 4])


def test_the_generator_is_as_large_as_that_of_the_paper_s_code() -> None:
    layer = LSConv2d(128, 128, 3, padding=1, bias=False)
    half, kernels = 64, 9 * 128 // 8
    norms = 2 * 3 * half + 2 * kernels
    products = 128 * half + 49 * half + half * half + half * kernels + kernels
    assert sum(p.numel() for p in layer.parameters()) == products + norms


def test_group_channels_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^group_channels must be at least 1, got 0$"):
        LSConv2d(4, 4, 3, group_channels=0)
