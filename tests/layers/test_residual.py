import copy

import numpy as np
import pytest
import torch
from cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_oracle import Array, array, centre, images, kernels_of, loop_conv, make, outputs, pixel
from torch import nn

from lit_adaptconv.layers import ResidualAdaptiveConv2d


@settings(max_examples=25)
@given(cases(), st.integers(1, 2))
def test_agrees_with_the_formula_in_loops(case: Case, rank: int) -> None:
    seen = case.generator_size
    layer, x = make(case, ResidualAdaptiveConv2d, rank=rank, generator_size=seen), images(case)
    adaptive = layer.adaptive
    of_group = np.arange(case.out_channels) // (case.group_out)
    group_in = case.group_in
    inputs = of_group[:, None] * group_in + np.arange(group_in)  # (C_out, C_in // groups)

    def kernel(i: int, j: int) -> Array:
        top, left = (centre(case, a, p) - case.dilation[a] * (seen[a] - 1) // 2 for a, p in enumerate((i, j)))
        gate = np.tile(array(adaptive.gate_bias), (len(x), 1, 1))
        for a in range(seen[0]):
            for b in range(seen[1]):
                under = pixel(x, top + a * case.dilation[0], left + b * case.dilation[1])[:, inputs]
                gate += np.einsum("roc,noc->nro", kernels_of(adaptive, "gate_weight")[..., a, b], under)
        return array(layer.static.weight) + np.einsum("nro,rocab->nocab", np.tanh(gate), kernels_of(adaptive))

    expected = loop_conv(case, x, kernel, layer.static.bias)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arguments", [{"padding": 1}, {"stride": 2, "padding": 1, "groups": 2}, {"bias": False}])
def test_a_trained_convolution_is_taken_over_exactly(arguments: dict[str, int]) -> None:
    trained = nn.Conv2d(4, 6, 3, **arguments)
    layer = ResidualAdaptiveConv2d(4, 6, 3, **arguments)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    layer.start_from(trained)
    x = torch.randn(3, 4, 9, 9)
    assert torch.equal(layer(x), trained(x))


def test_every_parameter_learns_within_two_steps_of_a_warm_start() -> None:
    layer = ResidualAdaptiveConv2d(4, 6, 3, padding=1, rank=2)
    layer.start_from(nn.Conv2d(4, 6, 3, padding=1))
    start = copy.deepcopy(layer.state_dict())
    x, target = torch.randn(8, 4, 9, 9), torch.randn(8, 6, 9, 9)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)

    def step() -> float:
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = [step()]
    for name in ("static.weight", "static.bias", "adaptive.gate_weight", "adaptive.gate_bias"):
        assert not torch.equal(layer.get_parameter(name), start[name])
    assert torch.equal(layer.adaptive.weight, start["adaptive.weight"])  # hidden by gates of zero in the first step
    losses += [step() for _ in range(20)]
    assert not torch.equal(layer.adaptive.weight, start["adaptive.weight"])
    assert losses[-1] < losses[0]


def test_a_convolution_of_another_geometry_is_refused_and_nothing_changes() -> None:
    layer = ResidualAdaptiveConv2d(4, 6, 3, padding=1)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match=r"^this layer can take over Conv2d\(4, 6, .*padding=\(1, 1\)\), got Conv2d"):
        layer.start_from(nn.Conv2d(4, 6, 3, padding=2))
    with pytest.raises(ValueError, match=r"^this layer can take over Conv2d.*, got Conv2d.*padding_mode=reflect"):
        layer.start_from(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
