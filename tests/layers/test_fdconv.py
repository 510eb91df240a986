import math
from typing import Any

import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import Array, array, images, linear, loop_conv, make, outputs, relu, sigmoid
from torch import nn

from lit_adaptconv.layers import FDConv2d
from lit_adaptconv.layers.fdconv import frequency_groups, hartley, low_pass
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import convert


def modulated(layer: FDConv2d, x: Array) -> Array:
    """The image with its bands weighed, by Fourier's transform."""
    if layer.bands is None:
        return x
    weight, bias = array(layer.bands.attention.weight), array(layer.bands.attention.bias)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    seen = np.stack([padded[:, :, a : a + height, b : b + width] for a in range(3) for b in range(3)], axis=2)
    gates = 2 * sigmoid(np.einsum("nctij,bct->nbij", seen, weight.reshape(3, -1, 9)) + bias[:, None, None])
    rows, columns = (np.abs(np.fft.fftfreq(size)) for size in (height, width))
    frequency = np.maximum(rows[:, None], columns[None, :])
    spectrum, edges, out = np.fft.fft2(x), (1.0, 1 / 4, 1 / 8, 1 / 16), np.zeros_like(x)
    for b in range(3):
        band = np.fft.ifft2(spectrum * ((frequency < edges[b]) & (frequency >= edges[b + 1]))).real
        out += gates[:, b : b + 1] * band
    return out + np.fft.ifft2(spectrum * (frequency < edges[3])).real


def cas(size: int) -> Array:
    angle = 2 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
    return (np.cos(angle) + np.sin(angle)) / math.sqrt(size)


@settings(max_examples=40)
@given(cases(), st.integers(1, 9))
def test_agrees_with_the_paper_s_formula_in_loops(case: Case, num_kernels: int) -> None:
    layer, x = make(case, FDConv2d, num_kernels=num_kernels), images(case)
    (kh, kw), inner = case.kernel_size, case.group_in
    means = x.mean((2, 3))
    hidden = relu(linear(layer.squeeze.linear, means))
    frequency, taps, channels, filters = (
        2 * sigmoid(linear(gate, hidden))
        for gate in (layer.frequency_gate, layer.tap_gate, layer.channel_gate, layer.filter_gate)
    )
    taps = taps.reshape(len(x), kh, kw)
    norm, weight = layer.squeeze.norm, array(layer.weight)
    deviation = np.sqrt(means.var(1, keepdims=True) + 1e-5)
    normal = (means - means.mean(1, keepdims=True)) / deviation * array(norm.weight) + array(norm.bias)
    local = array(layer.squeeze.local_weight).reshape(case.out_channels, kh, kw, -1)
    groups = frequency_groups(case.out_channels * kh, inner * kw, layer.frequency_groups)
    coefficients = np.zeros((len(x), case.out_channels * kh, inner * kw))
    for o, c, a, b in np.ndindex(weight.shape):
        at = (o * kh + a, c * kw + b)
        coefficients[:, at[0], at[1]] = weight[o, c, a, b] * frequency[:, groups[at]]
    spatial = cas(case.out_channels * kh) @ coefficients @ cas(inner * kw)
    kernels = np.zeros((len(x), *weight.shape))
    reach = local.shape[3] // 2
    for o, c, a, b in np.ndindex(weight.shape):
        begin = o // case.group_out * inner
        logit = np.zeros(len(x))
        for step in range(local.shape[3]):
            if 0 <= c + step - reach < inner:
                logit += local[o, a, b, step] * normal[:, begin + c + step - reach]
        gates = filters[:, o] * channels[:, begin + c] * taps[:, a, b] * 2 * sigmoid(logit)
        kernels[:, o, c, a, b] = gates * spatial[:, o * kh + a, c * kw + b]
    expected = loop_conv(case, modulated(layer, x), lambda i, j: kernels, layer.bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=60)
@given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 20))
def test_kernels_of_different_groups_have_no_frequency_in_common(rows: int, columns: int, groups: int) -> None:
    groups = min(groups, rows * columns)
    found = frequency_groups(rows, columns, groups)
    coefficients = torch.randn(rows, columns, dtype=torch.float64)
    spectra = [
        np.abs(np.fft.fft2(array(hartley(coefficients * torch.from_numpy(found == group))))) > 1e-9
        for group in range(groups)
    ]
    assert (np.sum(spectra, axis=0) <= 1).all()
    distance = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None, :])
    order = np.argsort(distance, axis=None, kind="stable")
    assert (np.diff(found.flatten()[order]) >= 0).all()


def test_groups_are_of_about_the_same_size() -> None:
    counts = np.bincount(frequency_groups(48, 48, 64).flatten(), minlength=64)
    assert counts.min() >= 16
    assert counts.max() <= 48  # 36 on average, and four or eight of most frequencies


@settings(max_examples=30)
@given(st.integers(1, 40), st.sampled_from([2, 4, 8]))
def test_what_passes_is_what_fourier_s_transform_lets_pass(size: int, parts: int) -> None:
    x = np.random.default_rng(size).standard_normal(size)
    kept = np.abs(np.fft.fftfreq(size)) < 1 / (2 * parts)
    expected = np.fft.ifft(np.fft.fft(x) * kept).real
    matrix = low_pass(size, parts, torch.zeros((), dtype=torch.float64))
    np.testing.assert_allclose(array(matrix) @ x, expected, atol=1e-10)


def test_the_transform_is_its_own_inverse_and_has_a_matrix() -> None:
    x = torch.randn(3, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(hartley(hartley(x)), x)
    np.testing.assert_allclose(array(hartley(x)), cas(6) @ array(x) @ cas(5), atol=1e-12)


def test_it_starts_with_bands_as_they_are() -> None:
    layer, x = FDConv2d(4, 6, 3, padding=1, groups=2), torch.randn(2, 4, 9, 7)
    assert layer.bands is not None
    torch.testing.assert_close(layer.bands(x), x)


def test_a_resnet_50_has_about_the_paper_s_number_of_added_parameters() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        network = torchvision.models.resnet50()
        before = count_parameters(network)

        def in_a_block(name: str, layer: nn.Conv2d) -> bool:
            return name.startswith("layer") and "downsample" not in name  # as the authors' code has it

        convert(network, "fdconv", where=in_a_block)
    assert (count_parameters(network) - before) / 1e6 == pytest.approx(3.6, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kernels": 0}, "num_kernels must be at least 1, got 0"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        FDConv2d(4, 4, 3, **options)
