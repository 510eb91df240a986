"""ThriftyNet against its formula, and what it means that one convolution is all convolutions."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from training import digits, trainer

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models import ThriftyNet, convert
from lit_adaptconv.train.classifier import ImageClassifier

shapes = st.fixed_dictionaries(
    {
        "steps": st.integers(1, 6),
        "history": st.integers(1, 5),
        "kernel_size": st.sampled_from([1, 3, 5]),
        "pools": st.sets(st.integers(0, 5), max_size=3),
    }
)


def build(shape: dict[str, Any], channels: int, in_channels: int, **arguments: Any) -> ThriftyNet:
    pools = sorted(step for step in shape["pools"] if step < shape["steps"])
    options = {name: shape[name] for name in ("steps", "history", "kernel_size")}
    return ThriftyNet(in_channels, 7, (11, 9), width=[channels], pool_after=pools, **options, **arguments)


@settings(max_examples=40)
@given(shape=shapes, channels=st.integers(1, 6), in_channels=st.integers(1, 4), seed=st.integers(0, 99))
def test_agrees_with_the_formula(shape: dict[str, Any], channels: int, in_channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = build(shape, channels, in_channels).double().eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.3, 1.5) if "running" in name else nn.init.normal_(value)
    images = torch.randn(2, in_channels, 11, 9, dtype=torch.float64)
    x = [torch.zeros(2, channels, 11, 9, dtype=torch.float64)]
    shown = min(channels, in_channels)
    x[0][:, :shown] = images[:, :shown]

    def seen(i: int, now: int) -> Tensor:
        """x[i], pooled as often as the steps between say."""
        out = x[i]
        for step in range(i, now):
            out = F.max_pool2d(out, 2) if step in network.pool_after else out
        return out

    weight = network.conv.weight
    for t in range(shape["steps"]):
        terms = [F.conv2d(seen(t, t), weight, padding=shape["kernel_size"] // 2).clamp(min=0)]
        terms += [seen(t + 1 - i, t) for i in range(1, shape["history"] + 1) if t + 1 - i >= 0]
        mixed = torch.einsum("i,i...->...", network.mixes[t], torch.stack(terms))
        norm = network.norms[t]
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        out = (mixed - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
        x.append(F.max_pool2d(out, 2) if t in network.pool_after else out)
    expected = x[-1].flatten(2).max(2).values @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(images), expected)


@settings(max_examples=40)
@given(shape=shapes, channels=st.integers(1, 9), kind=st.sampled_from(["standard", "separable", "adaptive_low_rank"]))
def test_the_convolution_counts_once_among_parameters_and_at_every_step_among_flops(
    shape: dict[str, Any], channels: int, kind: str
) -> None:
    network = build(shape, channels, 2, conv=conv_kind(kind))
    f, steps = channels, shape["steps"]
    terms = sum(1 + min(t + 1, shape["history"]) for t in range(steps))
    conv = count_parameters(network.conv)
    assert count_parameters(network) == conv + 2 * f * steps + terms + (f + 1) * 7
    if kind == "standard":
        k = shape["kernel_size"]
        assert conv == f * f * k * k
        doc = " ".join((ThriftyNet.__doc__ or "").split())
        (formula,) = re.findall(r"it has `([^`]*)` parameters", doc)
        assert count_parameters(network) == eval(formula, {"f": f, "k": k, "T": steps, "num_classes": 7}) + terms
    height, width, flops = 11, 9, 0
    for t in range(steps):
        earlier = min(t + 1, shape["history"])
        flops += forward_flops(network.conv, (f, height, width))
        flops += f * height * width * (1 + 1 + 2 * earlier + 2)  # activation, products, sums, normalisation
        if t in network.pool_after:
            height, width = height // 2, width // 2
            flops += min(t + 2, shape["history"]) * f * height * width * 4
    assert forward_flops(network, (2, 11, 9)) == flops + f * height * width + 2 * f * 7


def test_a_converted_network_still_shares_its_convolution() -> None:
    network = ThriftyNet(1, 10, (12, 12), width=[8])
    assert [one.name for one in convert(network, "adaptive").swapped] == ["conv"]
    assert network(torch.randn(2, 1, 12, 12)).shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["standard", "separable"])
def test_learns_the_digits_within_two_thousand_parameters(kind: str) -> None:
    torch.manual_seed(0)
    backbone, adam = partial(ThriftyNet, steps=5, pool_after=(0, 2)), partial(torch.optim.AdamW, lr=0.02)
    model = ImageClassifier(backbone, kind, budget=2_000, optimizer=adam, image_size=(12, 12))
    assert 0.9 * 2_000 <= model.parameter_count <= 2_000
    run = trainer(max_epochs=6)
    run.fit(model, digits(batch_size=64))
    assert run.validate(model, digits(batch_size=64), verbose=False)[0]["val/accuracy"] > 0.85


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"history": 0}, "history must be at least 1, got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"kernel_size": 4}, "kernel_size must be odd, so that images keep their size, got 4"),
        ({"pool_after": [3, 10]}, "pool_after must name steps from 0 to 9, got [3, 10]"),
        ({"pool_after": [-1]}, "pool_after must name steps from 0 to 9, got [-1]"),
        ({"pool_after": [0, 1, 2, 3]}, "images of 12×12 are too small for 4 poolings"),
        ({"width": [8, 8]}, "width must be one factor or 1 positive integers, got [8, 8]"),
    ],
)
def test_what_makes_no_network_is_answered_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        ThriftyNet(1, 10, (12, 12), **options)
