"""A profile against hand counts and against other ways to count; its parts add up to the whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lit_adaptconv import AdaptiveConv2d, LowRankAdaptiveConv2d
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.measure.layer_costs import OUTSIDE, kept_for_training
from lit_adaptconv.measure.profile import Profile, profile
from lit_adaptconv.models.backbones import ConvNet, LeNet5

FLOAT = 4
QUICK = 0.01


def rows(measured: Profile) -> dict[str, tuple[int, int]]:
    return {row.name: (row.parameters, row.flops) for row in measured.layers if row.parameters or row.flops}


def test_lenet5_is_what_a_hand_counts() -> None:
    measured = profile(LeNet5(), "standard", (1, 28, 28), 2, seconds=QUICK)
    # layer: parameters (weights + biases), multiply-adds (output pixels × weights)
    by_hand = {
        "features.0": (6 * 25 + 6, 28 * 28 * 6 * 25),  # padding 2 keeps 28×28 pixels
        "features.3": (16 * 6 * 25 + 16, 10 * 10 * 16 * 6 * 25),  # 14×14 pixels after pooling, 10×10 after 5×5
        "head.1": (400 * 120 + 120, 400 * 120),  # 16 maps of 5×5 pixels
        "head.3": (120 * 84 + 84, 120 * 84),
        "head.5": (84 * 10 + 10, 84 * 10),
    }
    elementwise = {
        "features.1": 6 * 28 * 28,
        "features.2": 6 * 14 * 14 * 4,  # four pixels a maximum
        "features.4": 16 * 10 * 10,
        "features.5": 16 * 5 * 5 * 4,
        "head.2": 120,
        "head.4": 84,
    }
    expected = {name: (parameters, 2 * macs) for name, (parameters, macs) in by_hand.items()}
    assert rows(measured) == expected | {name: (0, flops) for name, flops in elementwise.items()}
    assert measured.parameters == sum(parameters for parameters, _ in by_hand.values()) == 61_706
    products = 2 * sum(macs for _, macs in by_hand.values())
    assert (products, measured.flops) == (2 * 416_520, products + sum(elementwise.values()))


def test_an_adaptive_layer_is_what_a_hand_counts() -> None:
    network = nn.Sequential(AdaptiveConv2d(3, 8, 5, padding=2, generator_size=3), nn.Flatten(), nn.Linear(8 * 100, 2))
    measured = profile(network, "adaptive", (3, 10, 10), 4, seconds=QUICK)
    taps = 8 * 3 * 25
    assert measured.layers[0].parameters == taps * 9 + taps + 8  # generator weights, generator biases, biases
    assert measured.layers[0].flops == 100 * taps * (2 * 9 + 1 + 2)  # nine products make a tap, tanh, one uses it
    assert measured.layers[0].output_shape == (8, 10, 10)
    assert measured.layers[0].activation_bytes == 4 * 3 * 100 * FLOAT  # the fused kernel keeps the input alone


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", kinds())
def test_the_parts_add_up_to_the_whole(kind: str) -> None:
    network = ConvNet(3, 5, (12, 12), conv_kind(kind), channels=(4, 6), pool_after=(0,))
    measured = profile(network, kind, (3, 12, 12), 3, seconds=QUICK)
    assert measured.parameters == sum(row.parameters for row in measured.layers) == count_parameters(network)
    assert measured.flops == sum(row.flops for row in measured.layers) == forward_flops(network, (3, 12, 12))
    assert measured.activation_bytes == sum(row.activation_bytes for row in measured.layers)
    assert math.isclose(sum(row.time_share for row in measured.layers), 1, abs_tol=1e-6)
    assert [row.layer for row in measured.layers].count(type(network.blocks[0].conv).__name__) == 2
    assert [latency.batch_size for latency in measured.latency] == [1, 3]
    for latency in measured.latency:
        assert 0 < latency.lower <= latency.seconds <= latency.upper
        assert latency.throughput == pytest.approx(latency.batch_size / latency.seconds)


class Tied(nn.Module):
    """A weight of its own, a layer that computes twice, and two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 4))
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = images.flatten(1)[:, :4]
        return self.second(self.first(self.first(x))) @ self.scale


def test_what_no_layer_owns_or_computes_has_a_row_and_what_is_shared_counts_once() -> None:
    measured = profile(Tied(), "standard", (1, 2, 2), 2, seconds=QUICK)
    assert rows(measured) == {"first": (16, 2 * 2 * 16), "second": (0, 2 * 16), OUTSIDE: (16, 2 * 16)}
    assert measured.parameters == 32


def test_the_memory_kept_for_training_is_what_backward_needs() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(32, 3))
    kept = kept_for_training(network.eval(), torch.randn(5, 1, 6, 6))
    # the convolution keeps its input, ReLU its output, which is also what the linear layer keeps
    assert {name: size for name, size in kept.items() if size} == {"0": 5 * 36 * FLOAT, "1": 5 * 32 * FLOAT}
    assert not network.training


def test_measuring_memory_leaves_batch_norm_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept_for_training(network, torch.randn(5, 1, 6, 6))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_reference_implementation_keeps_more_than_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, images = AdaptiveConv2d(2, 3, 3), torch.randn(2, 2, 8, 8)
    fused = sum(kept_for_training(layer, images).values())
    monkeypatch.setenv("LIT_ADAPTCONV_IMPLEMENTATION", "reference")
    assert sum(kept_for_training(layer, images).values()) > 5 * fused


def test_a_layer_inside_a_layer_belongs_to_its_row() -> None:
    measured = profile(
        nn.Sequential(conv_kind("adaptive_residual")(1, 2, 3)), "adaptive_residual", (1, 6, 6), 2, seconds=QUICK
    )
    assert [row.name for row in measured.layers] == ["0", OUTSIDE]
    part = LowRankAdaptiveConv2d(1, 2, 3, bias=False)
    static, added = forward_flops(nn.Conv2d(1, 2, 3), (1, 6, 6)), 2 * 16
    assert measured.flops == forward_flops(part, (1, 6, 6)) + static + added


def test_the_file_holds_everything(tmp_path: Path) -> None:
    measured = profile(LeNet5(), "standard", (1, 28, 28), 2, seconds=QUICK)
    measured.write(tmp_path / "profile.json")
    content = json.loads((tmp_path / "profile.json").read_text())
    assert content["flops"] == 845_852
    assert [row["name"] for row in content["layers"]] == [row.name for row in measured.layers]
    assert content["threads"] == torch.get_num_threads()


@pytest.mark.parametrize(
    ("batch_size", "device", "words"), [(1, "cpu", "at least 2"), (2, "cuda:99", "cuda:99"), (2, "abacus", "abacus")]
)
def test_what_cannot_be_measured_is_refused(batch_size: int, device: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        profile(LeNet5(), "standard", (1, 28, 28), batch_size, device, seconds=QUICK)
