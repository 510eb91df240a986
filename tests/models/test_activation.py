"""Without activations a network of ordinary convolutions is affine, and one of bilinear convolutions is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lit_adaptconv.layers import conv_kind
from lit_adaptconv.models.backbones import ConvNet, ResNet8, ResNet20


@torch.no_grad()
def bend(network: nn.Module) -> float:
    """How far the middle of two images' logits is from the logits of their middle, relative to the logits."""
    network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # its statistics are those of the batch that it saw last
    network.train()(torch.randn(8, 3, 32, 32, dtype=torch.float64))
    network.eval()
    a, b = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    middle = network((a + b) / 2)
    return float((middle - (network(a) + network(b)) / 2).abs().max() / middle.abs().max())


def average_pooled(network: nn.Module) -> nn.Module:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
    return network


@pytest.mark.parametrize("backbone", [ConvNet, ResNet8, ResNet20])
def test_identity_leaves_all_that_is_not_linear_to_the_convolutions(backbone: Any) -> None:
    torch.manual_seed(0)
    plain = average_pooled(backbone(3, 10, (32, 32), activation="identity"))
    assert bend(plain) < 1e-9
    bilinear = backbone(3, 10, (32, 32), conv_kind("adaptive_bilinear"), activation="identity")
    assert bend(average_pooled(bilinear)) > 1e-3


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("backbone", [ConvNet, ResNet8, ResNet20])
def test_the_others_are_not_linear(backbone: Any, activation: str) -> None:
    torch.manual_seed(0)
    assert bend(average_pooled(backbone(3, 10, (32, 32), activation=activation))) > 1e-3
