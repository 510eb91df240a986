"""The low-rank layer: it is a convolution by a kernel per pixel, and a member of the full-rank family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lit_adaptconv import LowRankAdaptiveConv2d
from lit_adaptconv.functional import adaptive_conv2d


def make(case: Case, rank: int, activation: str) -> LowRankAdaptiveConv2d:
    """A layer for this case with standard normal parameters in float64."""
    layer = LowRankAdaptiveConv2d(
        case.in_channels,
        case.out_channels,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.bias,
        rank=rank,
        generator_size=case.generator_size,
        gate_activation=activation,
        dtype=torch.float64,
    )
    generator = torch.Generator().manual_seed(case.seed)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layer


def kernels(layer: LowRankAdaptiveConv2d, name: str) -> Tensor:
    """A stack of kernels with a dimension for the rank."""
    return layer.get_parameter(name).unflatten(0, (layer.rank, -1))


def arrays(layer: LowRankAdaptiveConv2d) -> list[Any]:
    """Gate weight, gate bias, weight and bias as NumPy arrays, the first three with the rank first."""
    parameters = (kernels(layer, "gate_weight"), layer.gate_bias, kernels(layer, "weight"), layer.bias)
    return [None if p is None else p.detach().numpy() for p in parameters]


@settings(max_examples=200)
@given(cases(), st.integers(1, 3), st.sampled_from(["tanh", "sigmoid", "identity"]))
def test_it_equals_the_kernel_of_each_pixel_built_and_applied(case: Case, rank: int, activation: str) -> None:
    (x,) = case.normal(case.input_shape)
    layer = make(case, rank, activation)
    batch = x[None] if case.batch is None else x
    expected = oracle.low_rank(batch, *arrays(layer), gate_activation=activation, **case.windows)
    got = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, expected[0] if case.batch is None else expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("groups", "rank", "channels"), [(1, 1, 8), (1, 1, 16), (1, 2, 4), (1, 3, 12), (4, 1, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_however_it_is_computed_it_equals_its_two_convolutions(
    groups: int, rank: int, channels: int, bias: bool
) -> None:
    """In half a block of channels both are one convolution with stacked weights, elsewhere two."""
    torch.manual_seed(0)
    layer = LowRankAdaptiveConv2d(4, channels, 3, 1, 1, 1, groups, bias, rank=rank, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, requires_grad=True)

    def filtered(weight: Tensor) -> Tensor:
        return torch.stack([nn.functional.conv2d(x, w, None, 1, 1, 1, groups) for w in weight.unflatten(0, (rank, -1))])

    gates = torch.tanh(filtered(layer.gate_weight) + layer.gate_bias[:, None, :, None, None])
    expected = (gates * filtered(layer.weight)).sum(0)
    expected = expected if layer.bias is None else expected + layer.bias[:, None, None]
    got = layer(x)
    torch.testing.assert_close(got, expected)
    inputs, cotangent = [x, *layer.parameters()], torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs, cotangent), torch.autograd.grad(expected, inputs, cotangent)
    )


@settings(max_examples=30)
@given(cases(), st.integers(1, 3))
def test_with_one_channel_a_group_and_no_activation_it_is_full_rank_with_a_factored_generator(
    case: Case, rank: int
) -> None:
    """K[o,t](p) = Σ_r (a[r,o] + G[r,o]·x) W[r,o,t], so the generator is Q = Σ_r W Gᵀ, of that rank, and b = Σ_r a W."""
    case = replace(case, group_in=1)
    layer = make(case, rank, "identity")
    weight, gate = kernels(layer, "weight")[:, :, 0].flatten(2), kernels(layer, "gate_weight")[:, :, 0]
    (x,) = map(torch.from_numpy, case.normal(case.input_shape))
    full = adaptive_conv2d(
        x,
        torch.einsum("rot,royx->otyx", weight, gate),
        torch.einsum("rot,ro->ot", weight, layer.gate_bias).unsqueeze(1),
        layer.bias,
        kernel_size=case.kernel_size,
        kernel_activation="identity",
        **case.windows,
    )
    torch.testing.assert_close(layer(x), full)


def factors(generator_weight: Tensor, generator_bias: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gate weight, gate bias and weight of the low-rank layer nearest a full-rank one (truncated SVD of [Q | b])."""
    augmented = torch.cat((generator_weight.flatten(2), generator_bias[:, 0, :, None]), dim=2)
    u, s, vh = torch.linalg.svd(augmented, full_matrices=False)
    kernels, gates = (u * s.unsqueeze(1))[:, :, :rank].movedim(2, 0), vh[:, :rank].movedim(1, 0)
    return gates[..., :-1], gates[..., -1], kernels


@pytest.mark.parametrize(("k", "q"), [(2, 3), (3, 2), (3, 3)])
def test_with_enough_rank_it_is_any_full_rank_layer_of_one_channel_a_group(k: int, q: int) -> None:
    """[Q | b] has k² rows and q² + 1 columns: that many kernels, the lesser number, mix to any full-rank generator."""
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(s, dtype=torch.float64) for s in ((2, 3, 7, 7), (6, k * k, q, q), (6, 1, k * k)))
    expected = adaptive_conv2d(x, weight, bias, kernel_size=k, groups=3, padding=1, kernel_activation="identity")
    enough = min(k * k, q * q + 1)
    errors = []
    for rank in (enough, enough - 1):
        layer = LowRankAdaptiveConv2d(
            3, 6, k, 1, 1, 1, 3, False, rank=rank, generator_size=q, gate_activation="identity", dtype=torch.float64
        )
        gate, gate_bias, kernels = factors(weight, bias, rank)
        state = {"gate_weight": gate.reshape(layer.gate_weight.shape), "gate_bias": gate_bias}
        layer.load_state_dict({**state, "weight": kernels.reshape(layer.weight.shape)})
        errors.append((layer(x) - expected).abs().max().item())
    assert errors[0] < 1e-12
    assert errors[1] > 1e-2


def test_with_one_tap_and_one_channel_a_group_tanh_makes_it_full_rank_too() -> None:
    torch.manual_seed(0)
    layer = LowRankAdaptiveConv2d(3, 6, 1, groups=3, generator_size=3, dtype=torch.float64)
    nn.init.ones_(layer.weight)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    weight, bias = layer.gate_weight, layer.gate_bias[0, :, None, None]
    torch.testing.assert_close(layer(x), adaptive_conv2d(x, weight, bias, layer.bias, kernel_size=1, groups=3))


def test_a_gate_that_ignores_its_input_makes_an_ordinary_convolution() -> None:
    torch.manual_seed(0)
    layer = LowRankAdaptiveConv2d(4, 6, 3, 2, 1, 1, 2, rank=2, dtype=torch.float64)
    nn.init.zeros_(layer.gate_weight)
    nn.init.normal_(layer.gate_bias)
    x = torch.randn(2, 4, 8, 7, dtype=torch.float64)
    kernel = (layer.gate_bias.tanh()[:, :, None, None, None] * kernels(layer, "weight")).sum(0)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, kernel, layer.bias, 2, 1, 1, 2))


@settings(max_examples=40)
@given(cases(), st.integers(1, 3))
def test_a_shared_gate_is_a_gate_of_each_output_channel_with_the_same_weights(case: Case, rank: int) -> None:
    own = make(case, rank, "tanh")
    arguments = (case.in_channels, case.out_channels, case.kernel_size, case.stride, case.padding, case.dilation)
    shared = LowRankAdaptiveConv2d(
        *arguments,
        case.groups,
        case.bias,
        rank=rank,
        generator_size=case.generator_size,
        shared_gate=True,
        dtype=torch.float64,
    )
    state, each = own.state_dict(), case.out_channels // case.groups
    state["gate_weight"], state["gate_bias"] = state["gate_weight"][::each], state["gate_bias"][:, ::each]
    shared.load_state_dict(state)
    with torch.no_grad():
        own.gate_weight.copy_(shared.gate_weight.repeat_interleave(each, 0))
        own.gate_bias.copy_(shared.gate_bias.repeat_interleave(each, 1))
    (x,) = map(torch.from_numpy, case.normal(case.input_shape))
    torch.testing.assert_close(shared(x), own(x))


def test_gates_that_start_closed_cannot_take_over_a_convolution() -> None:
    layer = LowRankAdaptiveConv2d(2, 4, 3, gate_mean=0.0)
    before = layer.gate_weight.clone()
    with pytest.raises(ValueError, match="^gates that start closed hide the convolution: gate_mean must not be 0$"):
        layer.start_from(nn.Conv2d(2, 4, 3))
    assert torch.equal(layer.gate_weight, before)


def test_the_state_dict_has_the_documented_names_and_shapes() -> None:
    layer = LowRankAdaptiveConv2d(4, 6, (3, 2), groups=2, rank=3, generator_size=(1, 5))
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "gate_weight": (18, 2, 1, 5),
        "gate_bias": (3, 6),
        "weight": (18, 2, 3, 2),
        "bias": (6,),
    }
    assert set(LowRankAdaptiveConv2d(4, 6, 3, bias=False).state_dict()) == {"gate_weight", "gate_bias", "weight"}
    assert sum(p.numel() for p in layer.parameters()) == 3 * 6 * (2 * (6 + 5) + 1) + 6
    shared = LowRankAdaptiveConv2d(4, 6, (3, 2), groups=2, rank=3, generator_size=(1, 5), shared_gate=True)
    assert sum(p.numel() for p in shared.parameters()) == 3 * (6 * 2 * 6 + 2 * (2 * 5 + 1)) + 6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "LowRankAdaptiveConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1))"),
        (
            {
                "padding": "valid",
                "groups": 2,
                "rank": 4,
                "generator_size": 1,
                "gate_activation": "sigmoid",
                "bias": False,
            },
            "LowRankAdaptiveConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding='valid', groups=2, bias=False, "
            "rank=4, generator_size=(1, 1), gate_activation='sigmoid')",
        ),
        (
            {"shared_gate": True, "gate_mean": 0.5},
            "LowRankAdaptiveConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), shared_gate=True, gate_mean=0.5)",
        ),
    ],
)
def test_repr_names_what_differs_from_the_defaults(options: dict[str, Any], expected: str) -> None:
    assert repr(LowRankAdaptiveConv2d(2, 4, 3, **options)) == expected
