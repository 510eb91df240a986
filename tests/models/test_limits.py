"""Networks within limits of FLOPs and bytes, against counts of the networks as they are built, and exported files."""

from __future__ import annotations

import copy
import functools
import io
import itertools
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.export.onnx import to_onnx
from lit_adaptconv.export.program import save, to_program
from lit_adaptconv.layers.kinds import Conv, conv_kind, kinds
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.measure.count import count_bytes, count_flops, count_parameters
from lit_adaptconv.models.backbones import Backbone, ConvNet, LeNet5, MobileNetV2, ResNet8
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.models.budget import Family, fit_budget
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.models.network import ConvertOptions
from lit_adaptconv.train.classifier import ImageClassifier

SHAPE = (3, 32, 32)
NETWORKS: dict[str, type[Backbone]] = {
    "lenet5": LeNet5,
    "convnet": ConvNet,
    "resnet8": ResNet8,
    "mobilenet_v2": MobileNetV2,
}
FLOPS = {"lenet5": 1e6, "convnet": 2e6, "resnet8": 1e7, "mobilenet_v2": 1e7}
QUICK = [
    ("lenet5", "standard"),
    ("lenet5", "odconv"),
    ("convnet", "adaptive"),
    ("convnet", "condconv"),
    ("resnet8", "separable"),
]
ONE_EACH = ("standard", "adaptive_low_rank", "condconv", "dynamic_filter")
"""What a deep network is given: the others cost in it what they cost in the networks that are not deep."""
EVERY = [
    pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
    for pair in itertools.product(NETWORKS, sorted(kinds()))
    if pair[0] != "mobilenet_v2" or pair[1] in ONE_EACH
]


def built(network: str, conv: Conv, width: Width) -> Backbone:
    return NETWORKS[network](3, 10, (32, 32), conv, width)


def family(network: str) -> Family:
    return Family(lambda conv, width: built(network, conv, width), SHAPE)


known_family = functools.cache(family)
"""One for all kinds and budgets: what it has of the architecture is the same for each."""


@functools.cache
def narrowest(network: str) -> tuple[int, ...]:
    """The widths of the narrowest network."""
    return (1,) * len(built(network, nn.Conv2d, 0.1).widths)


def sizes(network: str, conv: Conv, widths: tuple[int, ...]) -> dict[str, int]:
    """What is counted, of a network that is not the search's own."""
    with torch.device("meta"):
        made = built(network, conv, widths)
    stored = {id(value): value for value in made.state_dict(keep_vars=True).values()}.values()  # shared ones once
    held = [value for value in stored if value.is_floating_point()]
    whole = sum(value.numel() * value.element_size() for value in stored if not value.is_floating_point())
    return {
        "parameters": count_parameters(made),
        "flops": count_flops(made, SHAPE).forward,
        "bytes": 4 * sum(value.numel() for value in held) + whole,
    }


def is_widest(network: str, conv: Conv, widths: tuple[int, ...], limits: dict[str, int]) -> bool:
    """Whether no layer can be wider by one."""
    for layer in range(len(widths)):
        wider = sizes(network, conv, tuple(w + (i == layer) for i, w in enumerate(widths)))
        if all(wider[name] <= limit for name, limit in limits.items()):
            return False
    return True


@pytest.mark.parametrize(
    ("network", "kind", "factor"),
    [
        *(pytest.param(*pair.values, 1, marks=pair.marks) for pair in EVERY),
        *(pytest.param(*pair, factor, marks=pytest.mark.slow) for pair in QUICK for factor in (0.4, 4)),
    ],
)
def test_a_limit_of_flops_is_used_to_95_percent_or_by_a_network_that_no_wider_one_fits(
    network: str, kind: str, factor: float
) -> None:
    conv, budget = conv_kind(kind), Budget(flops=int(factor * FLOPS[network]))
    least = sizes(network, conv, narrowest(network))["flops"]
    if least > budget.limits["flops"]:
        with pytest.raises(UserError, match=f"at most {budget.text('flops')}: the narrowest .* has {least:,}$"):
            known_family(network).fit(conv, budget)
        return
    fit = known_family(network).fit(conv, budget)
    found = sizes(network, conv, fit.widths)
    assert found["flops"] <= budget.limits["flops"]
    assert fit.parameters == found["parameters"]
    assert found["flops"] >= 0.95 * budget.limits["flops"] or is_widest(network, conv, fit.widths, budget.limits)


@given(
    network=st.sampled_from(["lenet5", "convnet"]),
    kind=st.sampled_from(["standard", "separable", "adaptive_low_rank", "involution"]),
    parameters=st.one_of(st.none(), st.integers(2_000, 100_000)),
    flops=st.one_of(st.none(), st.floats(5.5, 7).map(lambda exponent: int(10**exponent))),
    weights=st.one_of(st.none(), st.integers(10_000, 200_000)),
)
@settings(max_examples=8)
def test_all_limits_are_kept_and_one_is_used(
    network: str, kind: str, parameters: int | None, flops: int | None, weights: int | None
) -> None:
    limits = {"parameters": parameters, "flops": flops, "bytes": weights}
    given_limits = {name: limit for name, limit in limits.items() if limit is not None}
    if not given_limits:
        return
    conv = conv_kind(kind)
    try:
        fit = known_family(network).fit(conv, Budget.of(given_limits))
    except UserError:
        smallest = sizes(network, conv, narrowest(network))
        assert any(smallest[name] > limit for name, limit in given_limits.items())
        return
    found = sizes(network, conv, fit.widths)
    used = [found[name] / limit for name, limit in given_limits.items()]
    assert max(used) <= 1
    assert max(used) >= 0.95 or is_widest(network, conv, fit.widths, given_limits)


@pytest.mark.parametrize("kind", ["standard", "separable", "adaptive_low_rank"])
@pytest.mark.parametrize("parameters", [1_500, 5_000])
def test_a_limit_that_the_network_of_a_number_of_parameters_keeps_changes_nothing(kind: str, parameters: int) -> None:
    made, conv = family("convnet"), conv_kind(kind)
    alone = made.fit(conv, parameters)
    found = sizes("convnet", conv, alone.widths)
    for more in ({"flops": found["flops"]}, {"bytes": found["bytes"] + 9}, {"flops": 1e9, "bytes": 1e6}):
        assert made.fit(conv, Budget.of({"parameters": parameters, **more})) == alone
    assert made.fit(conv, Budget(parameters=parameters, flops=found["flops"] - 1)) != alone


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_a_number_takes_the_bytes_of_its_type(dtype: str) -> None:
    network = built("convnet", nn.Conv2d, 1.0)
    given_type: torch.dtype = getattr(torch, dtype)
    as_given = copy.deepcopy(network).to(given_type)
    held = sum(value.numel() * value.element_size() for value in as_given.state_dict().values())
    assert count_bytes(network, given_type) == count_bytes(as_given) == held == stored(as_given, given_type)
    fit = fit_budget(
        lambda conv, width: built("convnet", conv, width), nn.Conv2d, Budget.of({"bytes": held, "dtype": dtype}), SHAPE
    )
    assert fit.widths == network.widths


def stored(network: nn.Module, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of the weights in the file of `adaptconv export --format torch-export`."""
    if dtype == torch.float32:
        content = save(to_program(network.eval(), SHAPE), {})
    else:
        file = io.BytesIO()
        torch.export.save(torch.export.export(network.eval(), (torch.zeros(2, *SHAPE, dtype=dtype),)), file)
        content = file.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [part for part in archive.infolist() if "/data/weights/" in part.filename]
        return sum(part.file_size for part in parts if not part.filename.endswith(".json"))


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        pytest.param(
            *pair.values,
            marks=() if pair.values in (("convnet", "adaptive"), ("resnet8", "separable")) else pytest.mark.slow,
        )
        for pair in EVERY
        if not pair.marks or pair.values[0] == "convnet" or (pair.values[0] == "resnet8" and pair.values[1] in ONE_EACH)
    ],
)
def test_the_bytes_are_those_of_the_exported_file(network: str, kind: str) -> None:
    conv = conv_kind(kind)
    smallest = sizes(network, conv, narrowest(network))["bytes"]
    budget = Budget(bytes=max(40_000, 2 * smallest))
    fit = known_family(network).fit(conv, budget)
    made = built(network, conv, fit.widths)
    assert stored(made) == count_bytes(made) == sizes(network, conv, fit.widths)["bytes"] <= budget.limits["bytes"]


@pytest.mark.parametrize(
    ("network", "kind", "least", "most"),
    [
        pytest.param("lenet5", "standard", 1, 1, marks=pytest.mark.slow),
        ("convnet", "standard", 0.85, 1),
        pytest.param("convnet", "adaptive", 1.2, 1.3, marks=pytest.mark.slow),
    ],
)
def test_an_onnx_file_holds_as_much_as_the_document_says(network: str, kind: str, least: float, most: float) -> None:
    pytest.importorskip("onnxruntime")
    from onnx import numpy_helper

    made = built(network, conv_kind(kind), 0.5).eval()
    arrays = [numpy_helper.to_array(constant) for constant in to_onnx(made, SHAPE).graph.initializer]
    held = sum(array.nbytes for array in arrays if array.dtype.kind == "f")
    assert least <= held / count_bytes(made) <= most


def test_a_shared_weight_and_a_frozen_one_take_their_bytes_once() -> None:
    layer = nn.Linear(3, 4)
    layer.bias.requires_grad_(False)
    assert count_bytes(nn.Sequential(layer, nn.BatchNorm1d(4), layer)) == 4 * (3 * 4 + 4 + 4 * 4) + 8


@pytest.mark.parametrize(
    ("given_budget", "message"),
    [
        ({}, "a budget has at least one limit: parameters, flops, bytes"),
        ({"dtype": "float16"}, "a budget has at least one limit: parameters, flops, bytes"),
        ({"flop": 3}, "a budget has no limit 'flop': it has parameters, flops, bytes, dtype"),
        ({"flops": 0.5}, "the budget of FLOPs must be a whole number from 1 on, got 0.5"),
        ({"flops": float("inf")}, "the budget of FLOPs must be a whole number from 1 on, got inf"),
        ({"flops": float("nan")}, "the budget of FLOPs must be a whole number from 1 on, got nan"),
        ({"bytes": "20 kB"}, "the budget of bytes must be a whole number from 1 on, got '20 kB'"),
        ({"bytes": -1}, "the budget of bytes must be a whole number from 1 on, got -1"),
        (True, "the budget of parameters must be a whole number from 1 on, got True"),
        (
            {"bytes": 9, "dtype": "int9"},
            "budget.dtype must be one of float64, float32, float16, bfloat16, got 'int9'",
        ),
    ],
)
def test_what_is_no_budget_is_told_in_one_line(given_budget: object, message: str) -> None:
    with pytest.raises(UserError) as raised:
        Budget.of(given_budget)  # type: ignore[arg-type]
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [np.int64(5_000), np.float32(5_000), 5e3])
def test_a_whole_number_of_any_type_is_a_limit(value: float) -> None:
    assert Budget.of({"flops": value}).limits == {"flops": 5_000}
    assert type(Budget.of({"flops": value}).limits["flops"]) is int


@pytest.mark.parametrize("value", [5_000, {"flops": 1_000_000}, {"parameters": 9, "bytes": 36, "dtype": "float16"}])
def test_plain_values_make_the_budget_again(value: object) -> None:
    budget = Budget.of(value)  # type: ignore[arg-type]
    assert budget.plain == value
    assert Budget.of(budget.plain) == budget


def test_a_limit_that_nothing_meets_names_the_smallest_network() -> None:
    smallest = sizes("lenet5", nn.Conv2d, (1, 1, 1, 1))
    for name, unit in (("flops", "FLOPs"), ("bytes", "bytes")):
        message = rf"at most {smallest[name] - 1:,} {unit}: the narrowest \(widths 1-1-1-1\) has {smallest[name]:,}$"
        with pytest.raises(UserError, match=message):
            family("lenet5").fit(nn.Conv2d, Budget.of({"parameters": 10**6, name: smallest[name] - 1}))
        assert family("lenet5").fit(nn.Conv2d, Budget.of({name: smallest[name]})).widths == (1, 1, 1, 1)


def test_flops_need_the_shape_of_an_image() -> None:
    with pytest.raises(UserError, match="FLOPs depend on the image: give a budget of FLOPs with the shape of an image"):
        fit_budget(lambda conv, width: built("convnet", conv, width), nn.Conv2d, Budget(flops=1e6))
    with pytest.raises(UserError, match="FLOPs depend on the image: give a budget of FLOPs with an example input"):
        convert(built("convnet", nn.Conv2d, 1.0), "adaptive", budget=Budget(flops=1e6))


@pytest.mark.parametrize("kind", ["adaptive_low_rank", "separable", "condconv"])
def test_a_conversion_swaps_what_its_flops_allow(kind: str) -> None:
    network, sample = built("resnet8", nn.Conv2d, 0.5), torch.zeros(2, *SHAPE)
    before = count_flops(network, SHAPE).forward
    names = [s.name for s in convert(copy.deepcopy(network), kind).swapped]
    alone = {}
    for name in names:
        swapped = copy.deepcopy(network)
        convert(swapped, kind, where=lambda other, _, name=name: other == name)  # type: ignore[misc]
        alone[name] = count_flops(swapped, SHAPE).forward - before
    added = sorted(alone.values())
    for budget in {before + sum(added[:n]) + extra for n in range(1, len(added) + 1) for extra in (0, 1)}:
        made = convert(copy.deepcopy(network), kind, budget=Budget(flops=budget), example_input=sample)
        most = max(n for n in range(1, len(added) + 1) if before + sum(added[:n]) <= budget)
        assert len(made.swapped) == most
        assert made.flops_after == before + sum(alone[s.name] for s in made.swapped) <= budget
    least = min(before + sum(added[:n]) for n in range(1, len(added) + 1))
    with pytest.raises(UserError, match=rf"^no swap to conv kind .* fits a budget of .* FLOPs: .* has {least:,}$"):
        convert(copy.deepcopy(network), kind, budget=Budget(flops=least - 1), example_input=sample)


def test_a_conversion_keeps_all_limits() -> None:
    network, sample = built("resnet8", nn.Conv2d, 0.5), torch.zeros(2, *SHAPE)
    parameters, flops = count_parameters(network), count_flops(network, SHAPE).forward
    for more, share in itertools.product((1.005, 1.05, 1.1), (1.1, 1.3, 1.6)):
        limits = Budget(parameters=int(more * parameters), flops=int(share * flops), bytes=4.6 * more * parameters // 1)
        try:
            made = convert(copy.deepcopy(network), "adaptive_low_rank", budget=limits, example_input=sample)
        except UserError:
            assert more == 1.005  # the least that a swap adds is more
            continue
        assert made.parameters_after <= limits.limits["parameters"]
        assert made.flops_after is not None
        assert made.flops_after <= limits.limits["flops"]
        assert count_bytes(made.model) <= limits.limits["bytes"]


def test_the_limits_hold_for_a_converted_backbone() -> None:
    size = {"in_channels": 3, "num_classes": 10, "image_size": (32, 32)}
    conversion = ConvertOptions("adaptive_low_rank", where="layer3")
    made = ImageClassifier(ResNet8, budget=Budget(flops=5e6, bytes=90_000), convert=conversion, **size)  # type: ignore[arg-type]
    assert count_bytes(made.network) <= 90_000
    assert 0.95 * 5e6 <= made.flops <= 5e6 or count_bytes(made.network) >= 0.95 * 90_000
    conversion = ConvertOptions("separable", budget=Budget(flops=2e7))
    made = ImageClassifier(ResNet8, convert=conversion, **size)  # type: ignore[arg-type]
    assert made.flops <= 2e7
    assert made.budget == {"flops": 20_000_000}


class NeedsNumbers(nn.Conv2d):
    """A convolution whose forward pass looks at a value, so that it does not run on the meta device."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) if float(input.detach()[0, 0, 0, 0]) < float("inf") else input


def test_a_kind_that_does_not_run_without_numbers_is_counted_with_them() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fit = family("convnet").fit(NeedsNumbers, Budget(flops=1e6))
    assert fit.widths == family("convnet").fit(nn.Conv2d, Budget(flops=1e6)).widths
    assert torch.equal(torch.get_rng_state(), before)


def test_a_classifier_is_read_again_with_all_its_limits() -> None:
    size = {"in_channels": 3, "num_classes": 10, "image_size": (32, 32)}
    made = ImageClassifier(ConvNet, budget=Budget(flops=1e6, bytes=30_000), **size)  # type: ignore[arg-type]
    assert made.flops <= 1_000_000
    assert made.budget == made.hparams["budget"] == {"flops": 1_000_000, "bytes": 30_000, "dtype": "float32"}
    again = ImageClassifier(ConvNet, **{k: v for k, v in made.hparams.items() if k != "backbone"})
    assert (again.widths, again.budget) == (made.widths, made.budget)
