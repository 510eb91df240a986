"""`padding_mode` means what it means for `nn.Conv2d`, for every kind."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.layers import AdaptiveConv2d
from lit_adaptconv.layers.kernel_maps import pixel_kernels
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.ops.geometry import PaddingMode

MODES = [mode for mode in get_args(PaddingMode) if mode != "zeros"]
BY_IMAGE = (
    "dynamic_filter",
    "condconv",
    "dynamic_conv",
    "odconv",
    "dcd",
    "kernel_warehouse",
    "fdconv",
    "decoupled_dynamic",
)
"""Kinds whose kernels depend on channel means, which are those of the image itself, not of the padded one."""


def make(kind: str, padding: Any, mode: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    layer = conv_kind(kind)(4, 6, (3, 2), padding=padding, padding_mode=mode, **arguments, dtype=torch.float64).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    for name, parameter in layer.named_parameters():
        if name.startswith(("squeeze.", "routing.", "bands.")):
            nn.init.zeros_(parameter)  # the image as a whole says nothing
    return layer


def images() -> Tensor:
    return torch.randn(2, 4, 7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize(
    ("padding", "sides", "arguments"),
    [
        ((1, 2), (2, 2, 1, 1), {"stride": (1, 2)}),
        ("same", (1, 1, 2, 2), {"dilation": 2, "groups": 2}),
        ("same", (0, 1, 1, 1), {}),
        ("valid", (0, 0, 0, 0), {}),
    ],
)
def test_the_layer_is_the_one_without_padding_on_the_padded_image(
    mode: Literal["reflect"], kind: str, padding: Any, sides: tuple[int, ...], arguments: dict[str, Any]
) -> None:
    x, expected = images(), make(kind, 0, "zeros", **arguments)
    torch.testing.assert_close(make(kind, padding, mode, **arguments)(x), expected(F.pad(x, sides, mode)))


@pytest.mark.parametrize("kind", BY_IMAGE)
def test_channel_means_are_those_of_the_image_without_its_padding(kind: str) -> None:
    torch.manual_seed(0)
    layer = conv_kind(kind)(4, 6, 3, padding=1, padding_mode="replicate", dtype=torch.float64)
    x = F.pad(images(), (1, 1, 1, 1))  # replicating a border of zeros pads with zeros
    zeros = conv_kind(kind)(4, 6, 3, padding=1, dtype=torch.float64)
    zeros.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), zeros(x))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["adaptive", "adaptive_low_rank", "adaptive_residual"])
def test_written_out_kernels_are_those_on_the_padded_image(kind: str, mode: Literal["reflect"]) -> None:
    x = images()
    got, expected = make(kind, 1, mode), make(kind, 0, "zeros")
    torch.testing.assert_close(pixel_kernels(got, x), pixel_kernels(expected, F.pad(x, (1, 1, 1, 1), mode)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        pytest.param(kind, mode, marks=[] if (kind, mode) == ("adaptive", "circular") else pytest.mark.slow)
        for kind, mode in (
            *(("adaptive", mode) for mode in MODES),
            *zip(("adaptive_low_rank", "odconv", "involution"), MODES, strict=True),
        )
    ],
)
def test_it_compiles_and_is_exported_for_any_size(kind: str, mode: str) -> None:
    layer, x = make(kind, 1, mode), images()
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    program = torch.export.export(layer, (x,), dynamic_shapes={"input": sizes})
    other = torch.randn(3, 4, 5, 9, dtype=torch.float64)
    torch.testing.assert_close(program.module()(other), layer(other))


def test_repr_shows_it_as_an_ordinary_convolutions_does() -> None:
    arguments: dict[str, Any] = {"padding": 1, "bias": False, "padding_mode": "reflect"}
    ordinary = repr(nn.Conv2d(2, 4, 3, **arguments)).replace("=reflect", "='reflect'")
    assert repr(AdaptiveConv2d(2, 4, 3, **arguments)).removeprefix("Adaptive") == ordinary


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", kinds())
def test_convert_passes_it_on(kind: str, mode: Literal["reflect"]) -> None:
    x = images()
    padded = convert(nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, padding_mode=mode)), kind).model.double().eval()
    plain = convert(nn.Sequential(nn.Conv2d(4, 6, 3)), kind).model.double().eval()
    plain.load_state_dict(padded.state_dict())
    for name, parameter in [*padded.named_parameters(), *plain.named_parameters()]:
        if any(part in name for part in ("squeeze.", "routing.", "bands.")):
            nn.init.zeros_(parameter)
    torch.testing.assert_close(padded(x), plain(F.pad(x, (1, 1, 1, 1), mode)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["adaptive", "adaptive_low_rank", "adaptive_residual"])
def test_a_warm_start_keeps_the_outputs_of_a_convolution_with_any_padding(kind: str, mode: Literal["reflect"]) -> None:
    convolution = nn.Conv2d(4, 6, 3, padding=1, padding_mode=mode, dtype=torch.float64)
    x = images()
    before = convolution(x)
    torch.testing.assert_close(convert(convolution, kind, warm_start=True).model(x), before)
