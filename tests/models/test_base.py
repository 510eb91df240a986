from __future__ import annotations

import pytest

from lit_adaptconv.errors import UserError
from lit_adaptconv.models.backbones.base import resolve_widths


def test_a_factor_rounds_every_width_and_leaves_none_at_zero() -> None:
    assert resolve_widths((6, 16, 120), 1.0) == (6, 16, 120)
    assert resolve_widths((6, 16, 120), 0.5) == (3, 8, 60)
    assert resolve_widths((6, 16, 120), 0.01) == (1, 1, 1)


def test_widths_may_be_given_layer_by_layer() -> None:
    assert resolve_widths((6, 16), [3, 20]) == (3, 20)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0, "width must be positive, got 0"),
        (-1.5, "width must be positive, got -1.5"),
        ([3], r"width must be one factor or 2 positive integers, got \[3\]"),
        ([3, 0], r"width must be one factor or 2 positive integers, got \[3, 0\]"),
        ([], r"width must be one factor or 2 positive integers, got \[\]"),
    ],
)
def test_a_width_that_makes_no_network_is_refused(width: float | list[int], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        resolve_widths((6, 16), width)
