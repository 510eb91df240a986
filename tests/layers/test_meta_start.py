"""A layer made on the meta device, given memory and then drawn, starts as one that was made in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from lit_adaptconv.layers.kinds import conv_kind, kinds

OPTIONS: dict[str, dict[str, Any]] = {
    "odconv": {"num_kernels": 3, "temperature": 7.0},
    "dynamic_conv": {"temperature": 7.0},
    "involution": {"pointwise": True},
    "lsconv": {"pointwise": True},
    "decoupled_dynamic": {"pointwise": True},
    "adaptive_low_rank": {"rank": 2, "shared_gate": True},
}
CASES = [(kind, options) for kind in kinds() for options in ({}, OPTIONS.get(kind)) if options is not None]
ORDERS: dict[str, Callable[[nn.Module], Iterator[nn.Module]]] = {
    "outer first": lambda layer: layer.modules(),
    "inner first": lambda layer: reversed([*layer.modules()]),
}


def draw(layer: nn.Module, order: str) -> nn.Module:
    """Call `reset_parameters` of every module."""
    torch.manual_seed(1)
    for module in ORDERS[order](layer):
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return layer


def from_meta(make: Callable[[], nn.Module], order: str) -> nn.Module:
    with torch.device("meta"):
        layer = make()
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for value in layer.state_dict().values():
            value.fill_(math.nan if value.is_floating_point() else -1)
    return draw(layer, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_no_value_is_left_unset_or_set_otherwise(kind: str, options: dict[str, Any], bias: bool, order: str) -> None:
    def make() -> nn.Module:
        return conv_kind(kind, options)(24, 32, 3, padding=1, bias=bias)

    torch.manual_seed(0)
    direct = make()
    started = from_meta(make, order).state_dict()
    state = direct.state_dict()
    assert started.keys() == state.keys()
    for name, value in state.items():
        found = started[name].double()
        assert found.isfinite().all(), name
        value = value.double()
        if value.numel() == 1 or value.std() == 0:
            assert torch.equal(found, value), name
        else:  # other draws, of the same distribution
            error = 6 / math.sqrt(value.numel())
            assert found.std().item() == pytest.approx(value.std().item(), rel=error), name
            assert found.mean().item() == pytest.approx(value.mean().item(), abs=error * value.std().item()), name
    drawn = draw(direct, order).state_dict()
    assert all(torch.equal(drawn[name], value) for name, value in started.items())
