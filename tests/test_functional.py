"""The adaptive convolution: agreement with an oracle, derivatives, and the properties that define a convolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
import torch
import torch.nn.functional as F
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from lit_adaptconv.functional import adaptive_conv2d

ACTIVATIONS = ("tanh", "identity")


def agrees_with_the_oracle(case: Case, activation: str) -> None:
    taps = case.kernel_size[0] * case.kernel_size[1]
    x, q, b, bias = case.normal(
        case.input_shape,
        (case.out_channels, case.group_in, taps, *case.generator_size),
        (case.out_channels, case.group_in, taps),
        (case.out_channels,),
    )
    batch = x[None] if case.batch is None else x
    known = {"kernel_size": case.kernel_size, "kernel_activation": activation, **case.windows}
    expected = oracle.full_rank(batch, q, b, bias if case.bias else None, **known)
    tensors = [torch.from_numpy(a) for a in (x, q.reshape(-1, *q.shape[2:]), b)]
    got = adaptive_conv2d(*tensors, torch.from_numpy(bias) if case.bias else None, **known).numpy()
    assert got.shape == (expected[0] if case.batch is None else expected).shape
    np.testing.assert_allclose(got, expected[0] if case.batch is None else expected, rtol=1e-10, atol=1e-11)


@settings(max_examples=200)
@given(cases(), st.sampled_from(ACTIVATIONS))
def test_it_agrees_with_a_loop_over_every_multiplication_on_200_random_shapes(case: Case, activation: str) -> None:
    agrees_with_the_oracle(case, activation)


@pytest.mark.slow
@settings(max_examples=2000, derandomize=False)
@given(cases(), st.sampled_from(ACTIVATIONS))
def test_it_agrees_with_a_loop_over_every_multiplication_on_2000_random_shapes(case: Case, activation: str) -> None:
    agrees_with_the_oracle(case, activation)


@settings(max_examples=20)
@given(cases(), st.sampled_from(ACTIVATIONS))
def test_an_empty_batch_gives_an_empty_batch_of_the_right_shape(case: Case, activation: str) -> None:
    agrees_with_the_oracle(replace(case, batch=0), activation)


def tensors(
    batch: int, image: tuple[int, int], group_in: int, out: int, groups: int, k: tuple[int, int], q: tuple[int, int]
) -> list[Tensor]:
    """Input, generator weight, generator bias and bias, random, in float64."""
    torch.manual_seed(0)
    shapes = [
        (batch, group_in * groups, *image),
        (out * group_in, k[0] * k[1], *q),
        (out, group_in, k[0] * k[1]),
        (out,),
    ]
    return [torch.randn(s, dtype=torch.float64) for s in shapes]


DIFFERENTIATED: dict[str, tuple[list[Tensor], dict[str, Any]]] = {
    "odd, padded": (tensors(1, (3, 4), 1, 2, 1, (3, 3), (3, 3)), {"kernel_size": 3, "padding": 1}),
    "even, same": (tensors(1, (3, 3), 2, 1, 1, (2, 2), (2, 3)), {"kernel_size": 2, "padding": "same"}),
    "strided, grouped": (
        tensors(2, (4, 5), 1, 2, 2, (2, 3), (1, 3)),
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 0), "groups": 2},
    ),
    "dilated, large generator": (tensors(1, (4, 4), 1, 2, 1, (2, 2), (3, 3)), {"kernel_size": 2, "dilation": 2}),
    "identity": (
        tensors(1, (3, 3), 2, 2, 1, (2, 1), (1, 2)),
        {"kernel_size": (2, 1), "kernel_activation": "identity"},
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("even, same", "dilated, large generator") else pytest.mark.slow)
        for name in DIFFERENTIATED
    ],
)
def test_first_and_second_derivatives_equal_finite_differences(name: str) -> None:
    arguments, options = DIFFERENTIATED[name]
    arguments = [t.clone().requires_grad_() for t in arguments]

    def convolve(*args: Tensor) -> Tensor:
        return adaptive_conv2d(*args, **options)

    assert torch.autograd.gradcheck(convolve, arguments)
    assert torch.autograd.gradgradcheck(convolve, arguments)


@settings(max_examples=50)
@given(cases())
def test_a_generator_that_ignores_its_input_makes_an_ordinary_convolution(case: Case) -> None:
    taps = case.kernel_size[0] * case.kernel_size[1]
    x, b, bias = map(
        torch.from_numpy, case.normal(case.input_shape, (case.out_channels, case.group_in, taps), (case.out_channels,))
    )
    zero = x.new_zeros(case.out_channels * case.group_in, taps, *case.generator_size)
    got = adaptive_conv2d(x, zero, b, bias, kernel_size=case.kernel_size, kernel_activation="identity", **case.windows)
    expected = F.conv2d(x, b.unflatten(2, case.kernel_size), bias, **case.windows)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("generator", [1, 3, 5])
def test_it_equals_correlations_by_scipy(generator: int) -> None:
    x, q, b, _ = tensors(1, (7, 6), 1, 1, 1, (3, 3), (generator, generator))
    image, expected = x[0, 0].numpy(), np.zeros((7, 6))
    for t in range(9):
        kernel = np.tanh(b[0, 0, t].item() + ndimage.correlate(image, q[0, t].numpy(), mode="constant"))
        expected += kernel * ndimage.shift(image, (1 - t // 3, 1 - t % 3), order=0, mode="constant")
    np.testing.assert_allclose(adaptive_conv2d(x, q, b, kernel_size=3, padding="same")[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_a_shifted_input_gives_a_shifted_output(activation: str, stride: int, dilation: int) -> None:
    x, q, b, bias = tensors(2, (9, 9), 2, 3, 1, (3, 2), (2, 5))
    x = F.pad(x, (12, 12, 12, 12))
    options: dict[str, Any] = {"kernel_size": (3, 2), "stride": stride, "dilation": dilation}
    out = adaptive_conv2d(x, q, b, bias, **options, kernel_activation=activation)
    moved = adaptive_conv2d(x.roll((stride, -2 * stride), (2, 3)), q, b, bias, **options, kernel_activation=activation)
    torch.testing.assert_close(moved, out.roll((1, -2), (2, 3)))
    assert not torch.allclose(moved, out)


def test_exchanging_height_and_width_exchanges_them_in_the_output() -> None:
    x, q, b, bias = tensors(2, (9, 7), 1, 4, 2, (3, 2), (2, 4))
    options = {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 3)}
    out = adaptive_conv2d(x, q, b, bias, kernel_size=(3, 2), groups=2, **options)
    turned = adaptive_conv2d(
        x.mT,
        q.unflatten(1, (3, 2)).transpose(1, 2).flatten(1, 2).mT,
        b.unflatten(2, (3, 2)).mT.flatten(2, 3),
        bias,
        kernel_size=(2, 3),
        groups=2,
        **{name: value[::-1] for name, value in options.items()},
    )
    torch.testing.assert_close(turned, out.mT)


def test_reordering_channels_reorders_what_belongs_to_them() -> None:
    x, q, b, bias = tensors(2, (5, 5), 4, 3, 1, (3, 3), (3, 3))
    out = adaptive_conv2d(x, q, b, bias, kernel_size=3)
    ins, outs = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    q = q.unflatten(0, (3, 4))
    moved = adaptive_conv2d(x[:, ins], q[:, ins].flatten(0, 1), b[:, ins], bias, kernel_size=3)
    torch.testing.assert_close(moved, out)
    moved = adaptive_conv2d(x, q[outs].flatten(0, 1), b[outs], bias[outs], kernel_size=3)
    torch.testing.assert_close(moved, out[:, outs])


def test_groups_are_separate_convolutions_side_by_side() -> None:
    x, q, b, bias = tensors(2, (6, 5), 2, 6, 3, (2, 3), (3, 2))
    parts = [
        adaptive_conv2d(x[:, 2 * g : 2 * g + 2], q[4 * g : 4 * g + 4], b[s], bias[s], kernel_size=(2, 3), padding=1)
        for g, s in enumerate(torch.arange(6).split(2))
    ]
    together = adaptive_conv2d(x, q, b, bias, kernel_size=(2, 3), padding=1, groups=3)
    torch.testing.assert_close(together, torch.cat(parts, dim=1))


def test_images_of_a_batch_do_not_affect_each_other() -> None:
    x, q, b, bias = tensors(3, (5, 5), 2, 3, 1, (3, 3), (3, 3))
    out = adaptive_conv2d(x, q, b, bias, kernel_size=3)
    torch.testing.assert_close(out, torch.stack([adaptive_conv2d(i, q, b, bias, kernel_size=3) for i in x]))


def test_memory_layout_does_not_change_the_result() -> None:
    x, q, b, bias = tensors(2, (5, 6), 2, 4, 2, (3, 3), (3, 3))
    out = adaptive_conv2d(x, q, b, bias, kernel_size=3, groups=2)
    striped = [t.mT.contiguous().mT for t in (x, q, b)]
    torch.testing.assert_close(adaptive_conv2d(*striped, bias, kernel_size=3, groups=2), out)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(adaptive_conv2d(last, q, b, bias, kernel_size=3, groups=2), out)
