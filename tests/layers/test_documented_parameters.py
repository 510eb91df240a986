"""The formula in a rival's docstring gives the number of its parameters."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_adaptconv import layers
from lit_adaptconv.layers.squeeze import hidden_channels

# Layer, its options, and whether its generator sees as many channels as the output has: behind a 1×1 convolution, or
# the output itself.
LAYERS: dict[str, tuple[dict[str, st.SearchStrategy[Any]], bool]] = {
    "CondConv2d": ({"num_experts": st.integers(1, 9)}, False),
    "DynamicConv2d": ({"num_kernels": st.integers(1, 5), "reduction": st.integers(1, 5)}, False),
    "ODConv2d": ({"num_kernels": st.integers(1, 5), "reduction": st.integers(1, 20)}, False),
    "DynamicFilter2d": ({"reduction": st.integers(1, 5)}, False),
    "LocalDynamicFilter2d": ({"reduction": st.integers(1, 5)}, False),
    "SqueezeExcitationConv2d": ({"reduction": st.integers(1, 20)}, True),
    "DCDConv2d": ({"reduction": st.integers(1, 20)}, False),
    "Involution2d": (
        {"group_channels": st.integers(1, 20), "reduction": st.integers(1, 5), "pointwise": st.booleans()},
        True,
    ),
    "LSConv2d": ({"group_channels": st.integers(1, 20), "pointwise": st.booleans()}, True),
    "DecoupledDynamicFilter2d": ({"reduction": st.integers(1, 5), "pointwise": st.booleans()}, True),
    "DeformableConv2d": ({"modulated": st.booleans()}, False),
    "DCNv4Conv2d": ({"group_channels": st.integers(1, 20)}, False),
    "KernelWarehouseConv2d": ({"reduction": st.integers(1, 20), "min_hidden": st.integers(1, 9)}, False),
    "FDConv2d": ({"num_kernels": st.integers(1, 80), "reduction": st.integers(1, 20)}, False),
    "PixelAdaptiveConv2d": ({}, False),
    "ResidualAdaptiveConv2d": ({"rank": st.integers(1, 4)}, False),
}


def formula(name: str) -> str:
    text = " ".join((getattr(layers, name).__doc__ or "").split())
    found = re.search(r"it has `([^`]*)` ?parameters", text, re.IGNORECASE)
    assert found, f"{name} tells no number of parameters"
    return found[1]


def letters(name: str, case: Case, in_channels: int, out_channels: int, chosen: dict[str, Any]) -> dict[str, int]:
    """What else a formula names, as its docstring says."""
    taps, inner = math.prod(case.kernel_size), in_channels // case.groups
    if name == "DeformableConv2d":
        return {"n": 3 if chosen["modulated"] else 2, "offset_groups": 1}
    if name == "DCDConv2d":
        return {"l": math.isqrt(in_channels), "m": math.isqrt(in_channels) if inner > 1 else max(1, taps // 2)}
    if name == "KernelWarehouseConv2d":
        return {"n": taps, "m": taps, "s": out_channels * inner}
    if name == "FDConv2d":
        length = round(math.log2(inner) / 2 + 0.5) // 2 * 2 + 1
        return {"n": min(chosen["num_kernels"], out_channels * inner * taps), "l": length}
    return {}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=40)
@given(case=cases(), wider=st.integers(1, 12), data=st.data())
def test_the_documented_number_of_parameters_is_the_real_one(
    name: str, case: Case, wider: int, data: st.DataObject
) -> None:
    options, sees_output = LAYERS[name]
    chosen = {option: data.draw(values, label=option) for option, values in options.items()}
    in_channels, out_channels = case.in_channels * wider, case.out_channels * wider
    h = hidden_channels(
        out_channels if sees_output else in_channels, chosen.get("reduction", 2 if name == "LSConv2d" else 1)
    )
    own: dict[str, Any] = {}
    if name in ("LocalDynamicFilter2d", "ResidualAdaptiveConv2d", "LSConv2d"):
        own["generator_size"] = case.generator_size
    if name == "KernelWarehouseConv2d":
        h = max(h, chosen["min_hidden"])
    layer = getattr(layers, name)(
        in_channels, out_channels, case.kernel_size, groups=case.groups, device="meta", **chosen, **own
    )
    expected = eval(
        formula(name),
        {},
        {
            "C_in": in_channels,
            "C_out": out_channels,
            "groups": case.groups,
            "kh": case.kernel_size[0],
            "kw": case.kernel_size[1],
            "qh": case.generator_size[0],
            "qw": case.generator_size[1],
            "h": h,
            "g": -(-out_channels // chosen.get("group_channels", 1)),
            "mixed": chosen.get("pointwise", False) or in_channels != out_channels,
            **chosen,
            **letters(name, case, in_channels, out_channels, chosen),
        },
    )
    assert sum(p.numel() for p in layer.parameters()) == expected


@pytest.mark.parametrize(
    ("channels", "reduction", "hidden"), [(1, 4, 4), (16, 4, 4), (64, 4, 16), (64, 16, 4), (7, 1, 7)]
)
def test_a_generator_has_its_share_of_the_channels_and_at_least_four(
    channels: int, reduction: int, hidden: int
) -> None:
    assert hidden_channels(channels, reduction) == hidden
