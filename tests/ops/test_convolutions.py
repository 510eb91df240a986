"""The form in which the operator is exported computes what the definition does."""

from __future__ import annotations

import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings

from lit_adaptconv.ops import convolutions, reference
from lit_adaptconv.ops.activation import Activation
from lit_adaptconv.ops.geometry import Call, sides


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@given(case=cases())
@settings(max_examples=40)
def test_the_exported_form_agrees_with_the_reference(activation: Activation, case: Case) -> None:
    taps = case.kernel_size[0] * case.kernel_size[1]
    shape = (case.batch or 1, case.in_channels, *case.image)
    filters, biases = (case.out_channels * case.group_in, taps), (case.out_channels, case.group_in, taps)
    arrays = case.normal(shape, (*filters, *case.generator_size), biases, (case.out_channels,))
    input, generator_weight, generator_bias, bias = map(torch.from_numpy, arrays)
    around = sides(case.padding, case.kernel_size, case.stride, case.dilation)
    call = Call(case.kernel_size, case.stride, around, case.dilation, case.groups, activation)
    tensors = (input, generator_weight, generator_bias, bias if case.bias else None)
    torch.testing.assert_close(convolutions.forward(*tensors, call), reference.forward(*tensors, call))
