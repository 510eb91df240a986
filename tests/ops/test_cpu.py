"""The fused CPU kernel against the reference: every shape, memory layout, type and kind of number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from agreement import LAYOUTS, relative_errors, results, tensors
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv.functional import adaptive_conv2d

ACTIVATIONS = ("tanh", "identity")
PLAIN = Case(2, (9, 8), 2, 3, 1, (3, 3), (3, 3), (1, 1), (1, 1), (1, 1), True, 0)
LARGE = {
    "many small images in one segment": replace(PLAIN, batch=70, image=(7, 5), group_in=1, group_out=1, groups=2),
    "an image of several bands of rows": replace(PLAIN, batch=1, image=(90, 110)),
    "bands with stride and dilation": replace(
        PLAIN, batch=2, image=(231, 150), stride=(2, 1), dilation=(3, 2), kernel_size=(2, 3), generator_size=(5, 4)
    ),
    "a row longer than a segment": replace(PLAIN, batch=1, image=(3, 5000), group_in=1, group_out=1),
    "a column": replace(PLAIN, batch=2, image=(5000, 1), group_in=1, group_out=1),
    "25 taps": replace(PLAIN, image=(20, 20), kernel_size=(5, 5), generator_size=(5, 5), padding=(2, 2)),
    "more channels than parts of the batch": replace(PLAIN, batch=3, group_in=20, group_out=2, groups=2),
}


def errors(case: Case, activation: str, layout: str = "contiguous") -> list[float]:
    arguments = tensors(case)
    options: dict[str, Any] = {"kernel_size": case.kernel_size, "kernel_activation": activation, **case.windows}
    got = results(arguments, "cpu", LAYOUTS[layout], **options)
    return relative_errors(got, results([t.double() for t in arguments], "reference", **options))


@settings(max_examples=300)
@given(cases(), st.sampled_from(ACTIVATIONS), st.sampled_from(list(LAYOUTS)))
def test_output_and_all_gradients_agree_with_the_reference_on_300_random_shapes(
    case: Case, activation: str, layout: str
) -> None:
    assert max(errors(case, activation, layout)) < 1e-5


@settings(max_examples=30)
@given(cases(), st.sampled_from(ACTIVATIONS))
def test_an_empty_batch_gives_empty_output_and_zero_gradients(case: Case, activation: str) -> None:
    assert max(errors(replace(case, batch=0), activation)) == 0


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_large_shapes_agree_with_the_reference(name: str, activation: str) -> None:
    assert max(errors(LARGE[name], activation)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_float32_result_rounded_once(dtype: torch.dtype) -> None:
    half = tensors(PLAIN, dtype)
    for got, exact in zip(
        results(half, "cpu", kernel_size=3, padding=1),
        results([t.float() for t in half], "cpu", kernel_size=3, padding=1),
        strict=True,
    ):
        assert got.dtype == dtype
        # The cotangent is rounded to half precision too, so gradients differ by more than a rounding.
        assert relative_errors([got], [exact])[0] < 4 * torch.finfo(dtype).eps


def test_float64_is_exact() -> None:
    arguments = tensors(PLAIN, torch.float64)
    fused = results(arguments, "cpu", kernel_size=3, padding=1)
    assert max(relative_errors(fused, results(arguments, "reference", kernel_size=3, padding=1))) < 1e-14


def special(value: float, where: tuple[int, int], padding: int, q: int, activation: str, target: int) -> None:
    """One special value in the input, a weight or a bias spreads as it does through the reference."""
    case = replace(PLAIN, generator_size=(q, q), padding=(padding, padding))
    arguments = tensors(case)
    if target == 0:
        arguments[0][1, 0, where[0], where[1]] = value
    else:
        arguments[target].view(-1)[where[0]] = value
    options: dict[str, Any] = {"kernel_size": 3, "padding": padding, "kernel_activation": activation}
    got = results(arguments, "cpu", **options)
    for fused, expected in zip(got, results(arguments, "reference", **options), strict=True):
        assert torch.equal(fused.isnan(), expected.isnan())
        assert torch.equal(fused.isposinf(), expected.isposinf())
        assert torch.equal(fused.isneginf(), expected.isneginf())
        finite = expected.isfinite()
        torch.testing.assert_close(fused[finite], expected[finite], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e38])
@pytest.mark.parametrize("where", [(4, 4), (3, 7), (8, 0)])
@pytest.mark.parametrize(("padding", "q"), [(1, 3), (0, 1), (2, 2)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_special_value_in_the_input_spreads_as_in_the_reference(
    value: float, where: tuple[int, int], padding: int, q: int, activation: str
) -> None:
    special(value, where, padding, q, activation, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("target", [1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_special_value_in_a_parameter_spreads_as_in_the_reference(value: float, target: int, activation: str) -> None:
    special(value, (1, 0), 1, 3, activation, target)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, -1e4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_zeros_and_very_large_and_small_inputs_are_as_exact_as_in_the_reference(scale: float, activation: str) -> None:
    """At ±1e4, a rounding error before tanh is as large as tanh's range: the reference in float32 has it as well."""
    x, *parameters = tensors(PLAIN)
    arguments = [scale * x, *parameters]
    options: dict[str, Any] = {"kernel_size": 3, "padding": 1, "kernel_activation": activation}
    exact = results([t.double() for t in arguments], "reference", **options)
    fused = relative_errors(results(arguments, "cpu", **options), exact)
    own = relative_errors(results(arguments, "reference", **options), exact)
    assert all(a < 1e-5 + 3 * b for a, b in zip(fused, own, strict=True)), (fused, own)


def test_a_constant_input_of_large_values_saturates_exactly() -> None:
    """Where tanh is ±1 its derivative is 0: nothing of 1e4 × rounding errors may reach the gradients."""
    x, weight, bias, _ = tensors(PLAIN)
    x, weight = torch.full_like(x, 1e4), weight.abs() + 0.1
    _, _, d_weight, d_bias = results([x, weight, bias], "cpu", kernel_size=3)
    assert d_weight.count_nonzero() == 0
    assert d_bias.count_nonzero() == 0


def test_the_input_may_be_smaller_than_the_generators_window_but_not_than_the_kernel() -> None:
    one = replace(PLAIN, image=(1, 1), padding=(0, 0), kernel_size=(1, 1), generator_size=(4, 4))
    assert max(errors(one, "tanh")) < 1e-5
    with pytest.raises(ValueError, match="is larger than"):
        adaptive_conv2d(*tensors(replace(PLAIN, image=(2, 3))), kernel_size=3)
