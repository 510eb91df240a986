"""Where windows lie: as long and as centred as PyTorch's own convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cases import Case, cases
from hypothesis import given, settings

from lit_adaptconv.ops.geometry import check_padding, two_ints, windows


@settings(max_examples=200)
@given(cases())
def test_both_windows_give_the_output_length_of_conv2d(case: Case) -> None:
    placed = windows(case.image, case.kernel_size, case.generator_size, case.stride, case.padding, case.dilation)
    kernel = torch.zeros(1, 1, *case.kernel_size)
    expected = F.conv2d(torch.zeros(1, 1, *case.image), kernel, None, case.stride, case.padding, case.dilation)
    assert tuple(window.out for window in placed) == expected.shape[-2:]
    for axis, window in enumerate(placed):
        for size, pad in (
            (case.kernel_size[axis], window.kernel_pad),
            (case.generator_size[axis], window.generator_pad),
        ):
            reach = case.dilation[axis] * (size - 1)
            assert (case.image[axis] + sum(pad) - reach - 1) // case.stride[axis] + 1 == window.out


@settings(max_examples=200)
@given(cases())
def test_both_windows_have_one_centre_where_padding_same_puts_it(case: Case) -> None:
    placed = windows(case.image, case.kernel_size, case.generator_size, case.stride, case.padding, case.dilation)
    for axis, window in enumerate(placed):
        centres = [
            case.dilation[axis] * (size - 1) // 2 - pad[0]
            for size, pad in (
                (case.kernel_size[axis], window.kernel_pad),
                (case.generator_size[axis], window.generator_pad),
            )
        ]
        assert centres[0] == centres[1]
        if case.padding == "same":
            assert centres[0] == 0


@pytest.mark.parametrize(
    ("value", "expected"), [(3, (3, 3)), ((2, 5), (2, 5)), ([2, 5], (2, 5)), (np.int64(4), (4, 4))]
)
def test_a_size_is_one_int_or_two(value: object, expected: tuple[int, int]) -> None:
    assert two_ints(value, "kernel_size") == expected


@pytest.mark.parametrize("value", [1.0, (1, 2.0), "33", (1,), None, (1, 2, 3)])
def test_what_is_no_size_is_refused_by_the_arguments_name(value: object) -> None:
    with pytest.raises(ValueError, match="^stride must be an int or a pair of ints, got "):
        two_ints(value, "stride")


def test_a_padding_is_a_name_or_two_lengths() -> None:
    assert check_padding(2, (3, 3)) == (2, 2)
    assert check_padding((0, 1), (3, 3)) == (0, 1)
    assert check_padding("valid", (3, 3)) == "valid"
    assert check_padding("same", (1, 1)) == "same"
