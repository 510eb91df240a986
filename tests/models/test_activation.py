"""A backbone's activation: which it is, what it costs, and what is left of the network without one."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import pytest
import torch
from short_networks import SHORT
from torch import nn

from lit_adaptconv.layers import conv_kind
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models.backbones import ConvNet, LeNet5, ResNet8, ResNet20
from lit_adaptconv.models.backbones.activations import BLOCK_ACTIVATIONS, BlockActivation
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.weight_decay import spared


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


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu", "gelu"])
@pytest.mark.parametrize("backbone", [ConvNet, ResNet8, ResNet20])
def test_the_others_are_not_linear(backbone: Any, activation: str) -> None:
    torch.manual_seed(0)
    assert bend(average_pooled(backbone(3, 10, (32, 32), activation=activation))) > 1e-3


@pytest.mark.sampled(4)
@pytest.mark.parametrize("activation", get_args(BlockActivation))
@pytest.mark.parametrize("network", SHORT)
def test_every_backbone_has_the_activation_in_every_place_and_computes_as_much(network: Any, activation: Any) -> None:
    usual, made = network(3, 10, (32, 32), width=0.3), network(3, 10, (32, 32), width=0.3, activation=activation)
    places = {name for name, module in usual.named_modules() if isinstance(module, (nn.ReLU, nn.ReLU6))}
    assert places
    assert all(type(made.get_submodule(name)) is BLOCK_ACTIVATIONS[activation] for name in places)
    assert count_parameters(made) - count_parameters(usual) == (len(places) if activation == "prelu" else 0)
    if activation != "identity":
        assert forward_flops(made, (3, 32, 32)) == forward_flops(usual, (3, 32, 32))
    made(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("network", SHORT)
def test_an_activation_that_a_layer_of_a_kind_has_within_is_its_own_affair(network: Any) -> None:
    class Rectified(nn.Sequential):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(nn.Conv2d(*args, **options), nn.ReLU())

    made = network(3, 10, (32, 32), Rectified, 0.3, activation="gelu")
    within = {id(part) for module in made.modules() if isinstance(module, Rectified) for part in module.modules()}
    rectifiers = [module for module in made.modules() if isinstance(module, nn.ReLU)]
    assert rectifiers
    assert all(id(module) in within for module in rectifiers)


@pytest.mark.parametrize("backbone", [LeNet5, ConvNet, ResNet8])
def test_a_budget_holds_with_a_learned_slope_that_no_weight_decay_touches(backbone: Any) -> None:
    model = ImageClassifier(partial(backbone, activation="prelu"), "separable", budget=9_000, image_size=(28, 28))
    assert 0.95 * 9_000 <= model.parameter_count <= 9_000
    slopes = {p for module in model.modules() if isinstance(module, nn.PReLU) for p in module.parameters()}
    assert slopes
    assert slopes <= spared(model)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("activation", ["prelu", "gelu", "leaky_relu"])
def test_a_runtime_computes_the_activation_from_an_onnx_file(activation: Any) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = ConvNet(3, 10, (12, 12), activation=activation).eval()
    program = torch.onnx.export(network, (torch.randn(2, 3, 12, 12),), dynamo=True, verbose=False)
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    images = torch.randn(2, 3, 12, 12)
    (out,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), network(images), rtol=1e-4, atol=1e-5)
