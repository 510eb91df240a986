"""The adaptive convolution: number types, autocast, and errors that say what is wrong in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from lit_adaptconv.functional import adaptive_conv2d

HALF = (torch.float16, torch.bfloat16)


def arguments(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Input of 4 channels, generator and bias of 6 output channels in 2 groups, kernel and generator 3×3."""
    torch.manual_seed(0)
    shapes = ((2, 4, 6, 5), (12, 9, 3, 3), (6, 2, 9), (6,))
    return [torch.randn(s, dtype=torch.float64).to(dtype) for s in shapes]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
def test_each_type_is_the_float64_result_rounded_once(dtype: torch.dtype, activation: str) -> None:
    args = arguments(dtype)
    out = adaptive_conv2d(*args, kernel_size=3, groups=2, kernel_activation=activation)
    exact = adaptive_conv2d(*(t.double() for t in args), kernel_size=3, groups=2, kernel_activation=activation)
    assert out.dtype == dtype
    rounding, summing = (0.5 * torch.finfo(dtype).eps, 1e-4) if dtype in HALF else (0.0, 50 * torch.finfo(dtype).eps)
    torch.testing.assert_close(out.double(), exact, rtol=1.01 * rounding, atol=summing)


@pytest.mark.parametrize("dtype", HALF)
def test_gradients_of_half_precision_are_close_to_the_float64_gradients(dtype: torch.dtype) -> None:
    half = [t.requires_grad_() for t in arguments(dtype)]
    exact = [t.detach().double().requires_grad_() for t in half]
    for args in (half, exact):
        adaptive_conv2d(*args, kernel_size=3, groups=2).mean().backward()
    for got, expected in zip(half, exact, strict=True):
        assert got.grad is not None
        assert got.grad.dtype == dtype
        error = (got.grad.double() - expected.grad).abs().max()
        assert error < 0.02 * expected.grad.abs().max()


@pytest.mark.parametrize("autocast", HALF)
@pytest.mark.parametrize("parameters", [torch.float64, torch.float32, *HALF])
def test_under_autocast_the_output_has_the_type_of_an_ordinary_convolutions(
    autocast: torch.dtype, parameters: torch.dtype
) -> None:
    args = arguments(parameters)
    with torch.autocast("cpu", dtype=autocast):
        ordinary = nn.Conv2d(4, 6, 3, groups=2, dtype=parameters)(args[0])
        out = adaptive_conv2d(*args, kernel_size=3, groups=2)
    assert out.dtype == ordinary.dtype
    torch.testing.assert_close(out, adaptive_conv2d(*(t.to(out.dtype) for t in args), kernel_size=3, groups=2))


def test_under_autocast_gradients_have_the_type_of_the_parameters() -> None:
    args = [t.requires_grad_() for t in arguments(torch.float32)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        adaptive_conv2d(*args, kernel_size=3, groups=2).sum().backward()
    assert [t.grad.dtype for t in args if t.grad is not None] == [torch.float32] * 4


def test_an_unbatched_image_gives_the_unbatched_output() -> None:
    x, *rest = arguments()
    one = adaptive_conv2d(x[1], *rest, kernel_size=3, groups=2)
    torch.testing.assert_close(one, adaptive_conv2d(x, *rest, kernel_size=3, groups=2)[1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_activation": "relu"}, "kernel_activation must be one of tanh, identity, got 'relu'"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be an int or a pair of ints, got (3, 3, 3)"),
        ({"kernel_size": 3.0}, "kernel_size must be an int or a pair of ints, got 3.0"),
        ({"kernel_size": (3, 2)}, "generator_bias makes 9 taps, kernel_size (3, 2) has 6"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"stride": (1, -1)}, "stride must be at least 1, got (1, -1)"),
        ({"dilation": 0}, "dilation must be at least 1, got 0"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"padding": "full"}, "padding must be an int, a pair of ints, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, "padding='same' works with stride 1 only, got stride (2, 2)"),
        ({"dilation": 3}, "kernel of 7 pixels (size 3, dilation 3) is larger than the padded input of 6"),
        ({"groups": 0}, "groups must be positive and divide the 6 output channels, got 0"),
        ({"groups": 4}, "groups must be positive and divide the 6 output channels, got 4"),
        ({"groups": 1}, "input must be (N, 2, H, W) or (2, H, W), got shape (2, 4, 6, 5)"),
    ],
    ids=str,
)
def test_bad_options_raise_one_line_that_names_them(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        adaptive_conv2d(*arguments(), **{"kernel_size": 3, "groups": 2, **options})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("index", "tensor", "message"),
    [
        (0, torch.zeros(6, 5), "input must be (N, 4, H, W) or (4, H, W), got shape (6, 5)"),
        (0, torch.zeros(1, 1, 4, 6, 5), "input must be (N, 4, H, W) or (4, H, W), got shape (1, 1, 4, 6, 5)"),
        (0, torch.zeros(1, 4, 6, 5), "generator_weight must have the input's type, torch.float32, got torch.float64"),
        (1, torch.zeros(6, 2, 9), "generator_weight must be (12, 9, qh, qw), got (6, 2, 9)"),
        (1, torch.zeros(6, 2, 9, 3, 3), "generator_weight must be (12, 9, qh, qw), got (6, 2, 9, 3, 3)"),
        (1, torch.zeros(6, 9, 3, 3), "generator_weight must be (12, 9, qh, qw), got (6, 9, 3, 3)"),
        (2, torch.zeros(6, 2), "generator_bias must be (out_channels, in_channels // groups, taps), got shape (6, 2)"),
        (3, torch.zeros(5), "bias must be (6,), got (5,)"),
        (3, torch.zeros(6), "bias must have the input's type, torch.float64, got torch.float32"),
    ],
)
def test_tensors_that_do_not_fit_raise_one_line_that_names_them(index: int, tensor: Tensor, message: str) -> None:
    args = arguments()
    args[index] = tensor
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        adaptive_conv2d(*args, kernel_size=3, groups=2)


def test_the_shapes_in_signatures_are_checked_while_tests_run() -> None:
    args = arguments()
    args[3] = torch.zeros(5, dtype=torch.float64)
    with pytest.raises(TypeCheckError, match="out_channels"):
        adaptive_conv2d(*args, kernel_size=3, groups=2)
