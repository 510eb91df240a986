"""Initialisation: its closed forms against other ways to compute them, and activations that keep their scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.layers import SeparableConv2d
from lit_adaptconv.layers.init import second_moment, tanh_input_std, uniform_bound
from lit_adaptconv.layers.kinds import conv_kind

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.1), (1.0, 0.5), (-0.5, 1.0), (0.0, 1.5)])
def test_the_second_moment_equals_monte_carlo_and_adaptive_quadrature(activation: str, mean: float, std: float) -> None:
    moment = second_moment(activation, mean, std)
    square = FUNCTIONS[activation](np.random.default_rng(0).normal(mean, std, 400_000)) ** 2
    assert abs(moment - square.mean()) < 5 * square.std() / math.sqrt(square.size)
    exact, _ = integrate.quad(
        lambda z: FUNCTIONS[activation](z) ** 2 * stats.norm.pdf(z, mean, std), mean - 12 * std, mean + 12 * std
    )
    assert moment == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("variance", [1e-4, 1 / 144, 1 / 9, 0.5])
def test_the_deviation_before_tanh_gives_the_variance_after_it(variance: float) -> None:
    std = tanh_input_std(variance)
    after = np.tanh(np.random.default_rng(0).normal(0, std, 400_000)) ** 2
    assert abs(variance - after.mean()) < 5 * after.std() / math.sqrt(after.size)
    assert second_moment("tanh", 0.0, std) == pytest.approx(variance, rel=1e-6)


def test_a_variance_that_tanh_cannot_reach_gives_the_deviation_where_it_saturates() -> None:
    assert tanh_input_std(1.0) == pytest.approx(4.0)


def test_uniform_numbers_within_the_bound_have_the_deviation() -> None:
    assert stats.uniform(-uniform_bound(0.7), 2 * uniform_bound(0.7)).std() == pytest.approx(0.7)


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize(("channels", "k", "q"), [(16, 3, 3), (64, 1, 3), (4, 5, 2)])
def test_generated_kernels_start_with_mean_square_one_over_the_terms_of_the_sum(
    activation: str, channels: int, k: int, q: int
) -> None:
    torch.manual_seed(0)
    layer = AdaptiveConv2d(channels, 64, k, generator_size=q, kernel_activation=activation)
    seen = torch.randn(500, channels, q * q)
    weight = layer.generator_weight.flatten(2).unflatten(0, (64, -1))
    kernels = torch.einsum("octs,ncs->noct", weight, seen) + layer.generator_bias
    square = (kernels.tanh() if activation == "tanh" else kernels).square().mean().item()
    assert square == pytest.approx(1 / (channels * k * k), rel=0.05)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "identity"])
@pytest.mark.parametrize("rank", [1, 3])
def test_mixed_kernels_start_with_mean_square_one_over_the_terms_of_the_sum(activation: str, rank: int) -> None:
    torch.manual_seed(0)
    layer = LowRankAdaptiveConv2d(16, 64, 3, rank=rank, gate_activation=activation)
    gate = layer.gate_weight.flatten(1).unflatten(0, (rank, -1)) @ torch.randn(144, 500) + layer.gate_bias[..., None]
    gate = torch.from_numpy(FUNCTIONS[activation](gate.detach().numpy()))
    kernels = torch.einsum("ron,roct->noct", gate, layer.weight.flatten(2).unflatten(0, (rank, -1)))
    assert kernels.square().mean().item() == pytest.approx(1 / 144, rel=0.05)


def test_biases_of_outputs_start_at_zero() -> None:
    for layer in (AdaptiveConv2d(2, 3, 3), LowRankAdaptiveConv2d(2, 3, 3), SeparableConv2d(2, 3, 3).pointwise):
        assert layer.bias is not None
        assert not layer.bias.any()


# Kind of layer, and the factor within which the variance of its activations stays through ten of them. Separable ones
# stray further: a depthwise output sums few terms, and neighbours in the image resemble each other more and more.
# Involution and DCNv4 stray furthest: all 16 channels share one random kernel of nine taps.
SCALES: dict[str, tuple[Callable[..., nn.Module], float]] = {
    "full rank, tanh": (AdaptiveConv2d, 2),
    "full rank, identity": (partial(AdaptiveConv2d, kernel_activation="identity"), 2),
    "full rank, large generator": (partial(AdaptiveConv2d, generator_size=5), 2),
    "low rank, tanh": (LowRankAdaptiveConv2d, 2),
    "low rank 4, tanh": (partial(LowRankAdaptiveConv2d, rank=4), 2),
    "low rank, sigmoid": (partial(LowRankAdaptiveConv2d, gate_activation="sigmoid"), 2),
    "low rank, shared gate": (partial(LowRankAdaptiveConv2d, shared_gate=True), 2),
    "low rank, identity": (partial(LowRankAdaptiveConv2d, gate_activation="identity"), 2),
    "separable, full rank": (partial(SeparableConv2d, depthwise=AdaptiveConv2d), 8),
    "separable, low rank": (partial(SeparableConv2d, depthwise=LowRankAdaptiveConv2d), 8),
    **{
        kind: (conv_kind(kind), 2)
        for kind in ("adaptive_residual", "squeeze_excitation", "dynamic_filter", "dynamic_filter_local", "condconv")
    },
    **{
        kind: (conv_kind(kind), 2)
        for kind in (
            "dynamic_conv",
            "odconv",
            "decoupled_dynamic",
            "deformable",
            "dcd",
            "pac",
            "kernel_warehouse",
            "fdconv",
        )
    },
    "odconv, 4 kernels": (partial(conv_kind("odconv"), num_kernels=4), 2),
    "deformable, v1": (partial(conv_kind("deformable"), modulated=False), 2),
    "lsconv": (conv_kind("lsconv"), 32),
    "lsconv, pointwise": (partial(conv_kind("lsconv"), pointwise=True), 32),
    "dcnv4": (conv_kind("dcnv4"), 64),
    "involution": (conv_kind("involution"), 32),
    "involution, pointwise": (partial(conv_kind("involution"), pointwise=True), 32),
    "decoupled_dynamic, pointwise": (partial(conv_kind("decoupled_dynamic"), pointwise=True), 8),
}


def variances(make: Callable[..., nn.Module], seed: int, depth: int = 10) -> list[float]:
    """Variance of the activations after each layer, for standardised input; no padding, which would add zeros."""
    torch.manual_seed(seed)
    x, found = torch.randn(2, 16, 40, 40), []
    with torch.no_grad():
        for _ in range(depth):
            x = make(16, 16, 3)(x)
            found.append(x.var().item())
    return found


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", SCALES)
def test_activations_keep_their_variance_through_depths_one_to_ten(name: str) -> None:
    make, factor = SCALES[name]
    for seed in range(3):
        for depth, variance in enumerate(variances(make, seed), start=1):
            assert 1 / factor < variance < factor, f"seed {seed}, depth {depth}"


def test_ordinary_convolutions_as_pytorch_starts_them_lose_that_variance() -> None:
    assert variances(nn.Conv2d, 0)[-1] < 0.05


def deviation(channels: int = 1, padding: int = 0, **options: Any) -> float:
    """Of the outputs of layers 1 → 6 with 5×5 kernels, as the released code has for MNIST, on a standardised input."""
    torch.manual_seed(0)
    layers = (AdaptiveConv2d(channels, 6, 5, padding=padding, bias=False, **options) for _ in range(20))
    return math.sqrt(sum(layer(torch.randn(4, channels, 28, 28)).detach().var().item() for layer in layers) / 20)


def test_pytorchs_start_widens_what_the_balanced_start_keeps() -> None:
    assert deviation() == pytest.approx(1.02, abs=0.05)
    assert deviation(padding=2, init="default") == pytest.approx(2.2, abs=0.15)
    assert deviation(16) == pytest.approx(1.0, abs=0.05)
    assert deviation(16, init="default") == pytest.approx(9.5, abs=0.5)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["adaptive", "adaptive_low_rank", "adaptive_bilinear", "adaptive_separable"])
@pytest.mark.parametrize("again", [False, True])
def test_the_default_start_is_that_of_pytorchs_convolutions_of_these_shapes(
    kind: str, again: bool, memory: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = conv_kind(kind, {"init": "default"})(16, 48, 3, groups=4 if kind == "adaptive" else 1)
    layer = layer.to(memory_format=memory)  # type: ignore[call-overload]
    if again:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        for module in layer.modules():
            module.reset_parameters()  # type: ignore[operator]
    seen = 16 // (4 if kind == "adaptive" else 1)
    alike = {  # the convolutions that a layer consists of, as PyTorch makes them
        "generator": nn.Conv2d(1, 4_096, 3),
        "bias": nn.Conv2d(seen, 4_096, 3),
        "gate": nn.Conv2d(seen, 4_096, 3),
        "weight": nn.Conv2d(seen, 4_096, 3),
        "pointwise": nn.Conv2d(16, 4_096, 1),
    }
    for name, parameter in layer.named_parameters():
        like = (
            alike[next(part for part in alike if name.rpartition(".")[0] == part or name.startswith(part))]
            if ("depthwise" not in name)
            else alike["generator"]
        )
        assert like.bias is not None
        limit = like.bias.abs().max().item()
        assert parameter.abs().max().item() == pytest.approx(limit, rel=0.5 if parameter.numel() < 99 else 0.05)
        assert parameter.abs().max().item() <= 1.001 * limit


@pytest.mark.usefixtures("unchecked")
def test_another_start_is_refused_in_one_line_and_the_one_that_is_taken_is_shown() -> None:
    for layer in (AdaptiveConv2d, LowRankAdaptiveConv2d):
        assert "init='default'" in repr(layer(2, 3, 3, init="default"))
        assert "init" not in repr(layer(2, 3, 3))
        with pytest.raises(ValueError, match=r"^init must be one of balanced, default, got 'kaiming'$"):
            layer(2, 3, 3, init="kaiming")  # type: ignore[arg-type]
