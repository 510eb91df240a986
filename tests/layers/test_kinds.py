"""Conv kinds: each is a drop-in for `nn.Conv2d`, and wrong names are answered with the right ones."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import Case, cases
from foreign_conv import GatedConv, gated, without_groups
from hypothesis import given, settings
from torch import nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import SeparableConv2d
from lit_adaptconv.layers import kinds as registry
from lit_adaptconv.layers.kinds import BUILT_IN, conv_kind, kinds, layer_classes, register_kind
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import ResNet8, convert, fit_budget

every_kind = pytest.mark.parametrize("kind", [kind.name for kind in BUILT_IN])


def test_the_known_kinds_include_both_arms_and_their_separable_forms() -> None:
    assert {"standard", "separable", "adaptive", "adaptive_separable", "adaptive_low_rank"} <= set(kinds())
    assert type(conv_kind("standard")(1, 1, 1)) is nn.Conv2d
    assert type(conv_kind("adaptive")(1, 1, 1)) is AdaptiveConv2d
    assert type(conv_kind("adaptive_low_rank")(1, 1, 1)) is LowRankAdaptiveConv2d
    bilinear = conv_kind("adaptive_bilinear")(1, 1, 1)
    assert isinstance(bilinear, LowRankAdaptiveConv2d)
    assert bilinear.gate_activation == "identity"
    for kind, depthwise in (
        ("separable", nn.Conv2d),
        ("adaptive_separable", AdaptiveConv2d),
        ("adaptive_low_rank_separable", LowRankAdaptiveConv2d),
    ):
        layer = conv_kind(kind)(1, 1, 1)
        assert type(layer) is SeparableConv2d
        assert type(layer.depthwise) is depthwise


@pytest.mark.sampled(4)
@every_kind
@settings(max_examples=15)
@given(cases())
def test_every_kind_takes_the_arguments_of_conv2d_and_gives_its_output_shape(kind: str, case: Case) -> None:
    arguments: tuple[Any, ...] = (
        case.in_channels,
        case.out_channels,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.bias,
    )
    x = torch.from_numpy(case.normal(case.input_shape)[0]).float()
    layer = conv_kind(kind)(*arguments).eval()  # batch normalisation, where there is one, refuses to train on one pixel
    assert layer(x).shape == nn.Conv2d(*arguments)(x).shape
    with_bias, without = (
        sum(p.numel() for p in conv_kind(kind)(*arguments[:-1], bias, device="meta").parameters())
        for bias in (True, False)
    )
    added = with_bias - without
    assert added == case.out_channels * (4 if kind == "dynamic_conv" else 1)  # one bias for each of its 4 kernels
    assert sum(p.numel() for p in layer.parameters()) == (with_bias if case.bias else without)


@every_kind
def test_every_kind_takes_the_arguments_of_conv2d_by_name(kind: str) -> None:
    layer = conv_kind(kind)(
        in_channels=4,
        out_channels=6,
        kernel_size=3,
        stride=2,
        padding=1,
        dilation=1,
        groups=2,
        bias=False,
        device="cpu",
        dtype=torch.float64,
    )
    assert layer(torch.randn(2, 4, 9, 8, dtype=torch.float64)).shape == (2, 6, 5, 4)


@every_kind
def test_every_kind_can_be_pickled_with_its_layers(kind: str) -> None:
    layer = pickle.loads(pickle.dumps(conv_kind(kind)))(2, 2, 3)
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


def test_options_are_set_on_the_layer() -> None:
    assert conv_kind("adaptive", {"generator_size": 5})(1, 2, 3).generator_size == (5, 5)
    assert conv_kind("adaptive_low_rank", {"rank": 3, "gate_activation": "sigmoid"})(1, 2, 3).rank == 3
    layer = conv_kind("adaptive_separable", {"kernel_activation": "identity"})(2, 2, 3)
    assert layer.depthwise.kernel_activation == "identity"
    assert conv_kind("standard", {}) is nn.Conv2d


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    known = f"known kinds: {', '.join(kinds())}, or a class as package.Class"
    nearest = {"seperable": "did you mean 'separable'? ", "adaptve": "did you mean 'adaptive'? ", "x": ""}
    for wrong, meant in nearest.items():
        with pytest.raises(UserError, match="^" + re.escape(f"unknown conv kind {wrong!r}; {meant}{known}") + "$"):
            conv_kind(wrong)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "adaptive",
            "conv kind 'adaptive' has no option 'ranks'; "
            "its options: generator_size, kernel_activation, output_activation, init",
        ),
        (
            "adaptive_separable",
            "conv kind 'adaptive_separable' has no option 'ranks'; "
            "its options: generator_size, kernel_activation, output_activation, init",
        ),
        (
            "adaptive_low_rank",
            "conv kind 'adaptive_low_rank' has no option 'ranks'; its options: rank, generator_size, gate_activation, "
            "shared_gate, gate_mean, init",
        ),
        ("separable", "conv kind 'separable' has no option 'ranks'; it has none"),
        ("standard", "conv kind 'standard' has no option 'ranks'; it has none"),
    ],
)
def test_an_unknown_option_is_answered_with_the_known_ones(kind: str, message: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(message) + "$"):
        conv_kind(kind, {"ranks": 2})


def test_what_a_kind_has_settled_is_no_option_of_it() -> None:
    with pytest.raises(UserError, match="has no option 'gate_activation'; its options: rank"):
        conv_kind("adaptive_bilinear", {"gate_activation": "tanh"})


def test_the_bilinear_layer_is_a_product_of_two_convolutions() -> None:
    torch.manual_seed(0)
    layer = conv_kind("adaptive_bilinear")(3, 4, 3, padding=1).double()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    gate = F.conv2d(x, layer.gate_weight, layer.gate_bias[0], padding=1)
    expected = gate * F.conv2d(x, layer.weight, padding=1) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    degree_two = layer(2 * x) - 2 * layer(x) + layer(0 * x)  # second difference of a polynomial of degree 2 along x
    torch.testing.assert_close(layer(3 * x) - 2 * layer(2 * x) + layer(x), degree_two)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget afterwards what is registered and offered."""
    monkeypatch.setattr(registry, "_registered", {})
    yield
    registry._offered.cache_clear()


@pytest.mark.parametrize("path", ["foreign_conv.GatedConv", "foreign_conv:GatedConv"])
def test_a_dotted_path_names_anyone_s_convolution(path: str) -> None:
    assert conv_kind(path) is GatedConv
    assert conv_kind(path, {"start": 0.5})(2, 3, 3).gate.unique() == 0.5
    with pytest.raises(UserError, match=f"^conv kind '{path}' has no option 'rank'; its options: start$"):
        conv_kind(path, {"rank": 2})


def test_a_function_is_as_good_as_a_class() -> None:
    assert conv_kind("foreign_conv.gated", {"padding_mode": "reflect"})(2, 3, 3)[0].padding_mode == "reflect"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("foreign_conv.without_groups", "does not take nn.Conv2d's arguments: it has no dilation, groups"),
        (
            "foreign_conv.outputs_first",
            "must take in_channels, out_channels, kernel_size first, as nn.Conv2d does, "
            "got out_channels, in_channels, kernel_size",
        ),
        ("foreign_conv.with_heads", "needs heads, which nn.Conv2d does not have: set it as an option"),
        ("foreign_conv.Size", "must be a class or a function, got a UnionType"),
        ("torch.nn", "must be a class or a function, got a module"),
        ("foreign_con.GatedConv", "cannot be imported: No module named 'foreign_con'"),
        ("foreign_conv.GateConv", "cannot be imported: module 'foreign_conv' has no attribute 'GateConv'"),
        (".", "cannot be imported: "),
    ],
)
def test_what_is_no_convolution_is_told_in_one_line(path: str, message: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(f"conv kind {path!r} {message}")):
        conv_kind(path)


def test_an_option_may_be_one_that_the_convolution_needs() -> None:
    assert isinstance(conv_kind("foreign_conv.with_heads", {"heads": 2})(1, 2, 3), nn.Conv2d)


@pytest.mark.usefixtures("clean")
def test_a_registered_kind_has_a_name_and_what_is_told_of_it() -> None:
    register_kind("gated", GatedConv, equation="y = g · (W ⋆ x)", kernel="static", source="a test")
    assert conv_kind("gated") is GatedConv
    assert list(kinds())[-1] == "gated"
    assert (kinds()["gated"].equation, kinds()["gated"].parameters) == ("y = g · (W ⋆ x)", None)
    register_kind("gated", "foreign_conv:gated")  # a cell of a notebook may be run again
    assert conv_kind("gated") is gated


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("name", "conv", "message"),
    [
        ("adaptive", GatedConv, "conv kind 'adaptive' is known already: register yours under another name"),
        ("my.conv", GatedConv, "the name of a conv kind has letters, digits, _ and -, got 'my.conv'"),
        ("small", without_groups, "conv kind 'small' does not take nn.Conv2d's arguments: it has no dilation, groups"),
    ],
)
def test_what_cannot_be_registered_is_told_in_one_line(name: str, conv: Any, message: str) -> None:
    with pytest.raises(UserError, match="^" + re.escape(message) + "$"):
        register_kind(name, conv)
    assert list(kinds()) == [kind.name for kind in BUILT_IN]


@pytest.fixture
def offered(clean: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers kinds, one of them under a name of ours, and one that is not there."""
    info = tmp_path / "gates-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gates\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lit_adaptconv.kinds]\ngated = foreign_conv:GatedConv\nadaptive = foreign_conv:GatedConv\nlost = gone:Conv\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._offered.cache_clear()


@pytest.mark.usefixtures("offered")
def test_an_installed_package_offers_kinds_and_takes_no_name_of_ours() -> None:
    assert list(kinds())[len(BUILT_IN) :] == ["gated", "lost"]
    assert conv_kind("gated") is GatedConv
    assert kinds()["gated"].source == "gates"
    assert conv_kind("adaptive") is AdaptiveConv2d
    with pytest.raises(UserError, match="^conv kind 'lost' cannot be imported: No module named 'gone'$"):
        conv_kind("lost")
    with pytest.raises(UserError, match="^conv kind 'gated' is known already"):
        register_kind("gated", GatedConv)


def test_a_foreign_kind_meets_a_budget_exactly_as_counted() -> None:
    conv = conv_kind("foreign_conv.GatedConv")
    found = fit_budget(lambda conv, width: ResNet8(3, 10, (32, 32), conv, width), conv, 5_000)
    network = ResNet8(3, 10, (32, 32), conv, found.widths)
    assert count_parameters(network) == found.parameters <= 5_000
    assert sum(isinstance(layer, GatedConv) for layer in network.modules()) == 7
    network(torch.randn(1, 3, 32, 32)).sum().backward()


def test_a_foreign_kind_takes_the_place_of_a_convolution_in_its_dtype_and_is_not_converted_again() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 3)).double()
    done = convert(model, "foreign_conv.GatedConv", where="0", kind_options={"start": 2.0})
    layer = model[0]
    assert isinstance(layer, GatedConv)
    assert (layer.conv.stride, layer.conv.padding, layer.conv.bias) == ((2, 2), (1, 1), None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert done.parameters_after - done.parameters_before == 4
    again = convert(model, "adaptive")
    assert [swapped.name for swapped in again.swapped] == ["2"]
    assert [(skipped.name, skipped.reason) for skipped in again.skipped] == [("0", "is a GatedConv already")]


def test_layer_classes_are_those_of_every_kind_but_the_ordinary_one() -> None:
    classes = layer_classes()
    assert {AdaptiveConv2d, LowRankAdaptiveConv2d, SeparableConv2d} <= set(classes)
    assert nn.Conv2d not in classes
