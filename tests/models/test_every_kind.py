"""Every backbone with every conv kind: it learns, it compiles, and it meets a budget."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from places import Everywhere, two_sizes
from short_networks import BACKBONES, SHORT
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv, conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import backbones
from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.models.budget import CLOSE_ENOUGH, Family, fit_budget
from lit_adaptconv.models.parameter_formula import on_meta

BUDGETS = (2_000, 10_000, 50_000, 250_000)
WIDTH = 0.1


QUICK = {("ResNet8", kind) for kind in kinds()} | {(network.__name__, "adaptive_low_rank") for network in BACKBONES}
"""What a sample of runs by default: every kind once, and every network once but the deepest."""
ONE_EACH = (
    "LeNet5",
    "CaffeLeNet",
    "DropoutLeNet",
    "ConvNet",
    "ResNet20",
    "ResNet18",
    "ResNet50",
    "MobileNetV2",
    "SqueezeNet",
    "ThriftyNet",
)
"""A network of each family, which the slow tests take with every kind: a deeper one repeats its blocks."""


def pairs() -> list[object]:
    """Networks with kinds."""
    deepest = {(f"ResNet{depth}", "adaptive_low_rank") for depth in (56, 101, 110)}
    every = {(name, kind) for name in ONE_EACH for kind in kinds()} | QUICK
    return [
        pytest.param(
            network,
            kind,
            id=f"{network.__name__}-{kind}",
            marks=[] if (network.__name__, kind) in QUICK - deepest else pytest.mark.slow,
        )
        for network in BACKBONES
        for kind in kinds()
        if (network.__name__, kind) in every
    ]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("network", BACKBONES)
def test_every_parameter_of_a_network_gets_a_gradient_at_two_image_sizes(network: type[Backbone]) -> None:
    torch.manual_seed(0)
    for size in two_sizes(network):
        model = network(3, 10, size, conv_kind("adaptive_low_rank"), WIDTH)
        logits = model(torch.randn(2, 3, *size))
        assert logits.shape == (2, 10)
        assert learns(model, logits)


@pytest.mark.parametrize("kind", kinds())
def test_every_parameter_of_a_kind_gets_a_gradient_in_every_place_of_every_backbone(kind: str) -> None:
    torch.manual_seed(0)
    model = Everywhere(kind)
    assert learns(model, torch.cat([output.flatten() for output in model(torch.randn(2, 4, 9, 10))]))


def learns(model: nn.Module, output: Tensor) -> bool:
    """Whether an output and all gradients of its square are finite."""
    output.square().sum().backward()
    gradients = [p.grad for p in model.parameters()]
    return bool(output.isfinite().all()) and all(grad is not None and grad.isfinite().all() for grad in gradients)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("network", [pytest.param(network, marks=pytest.mark.slow) for network in SHORT])
@pytest.mark.parametrize("kind", ["standard", "adaptive_low_rank"])
def test_every_family_compiles_without_a_graph_break_and_computes_the_same(network: type[Backbone], kind: str) -> None:
    width = 0.5 if "LeNet" in network.__name__ else WIDTH
    assert_compiles(network(3, 10, (32, 32), conv_kind(kind), width).eval(), torch.randn(2, 3, 32, 32))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "kind", [kind if kind == "adaptive" else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds()]
)
def test_every_kind_compiles_in_every_place_of_every_backbone(kind: str) -> None:
    assert_compiles(Everywhere(kind).eval(), torch.randn(2, 4, 9, 10))


def assert_compiles(model: nn.Module, images: Tensor) -> None:
    """TorchDynamo makes one graph of a model, which computes the same."""
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


@cache
def number_of_widths(network: type[Backbone]) -> int:
    return len(on_meta(lambda: network(3, 10, (32, 32))).widths)


@cache
def family_of(network: type[Backbone]) -> Family:
    return Family(lambda conv, width: network(3, 10, (32, 32), conv, width))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("network", "kind"), pairs())
def test_a_budget_is_used_to_98_percent_or_by_a_network_that_no_wider_one_fits(
    network: type[Backbone], kind: str
) -> None:
    def built(width: Width) -> Backbone:
        return on_meta(lambda: network(3, 10, (32, 32), conv, width))

    conv, family = conv_kind(kind), family_of(network)
    narrowest = count_parameters(built([1] * number_of_widths(network)))
    assert narrowest <= BUDGETS[-2]
    for budget in BUDGETS:
        if narrowest > budget:
            with pytest.raises(UserError, match=f"^no network of this family .* has {narrowest:,}$"):
                family.fit(conv, budget)
            continue
        fit = family.fit(conv, budget)
        assert fit.parameters == count_parameters(built(fit.widths)) <= budget
        if fit.parameters < CLOSE_ENOUGH * budget:
            for i in range(len(fit.widths)):
                wider = [width + (i == j) for j, width in enumerate(fit.widths)]
                assert count_parameters(built(wider)) > budget


def test_a_budget_shapes_no_bottleneck_out_of_a_network() -> None:
    fit = fit_budget(lambda conv, width: backbones.ResNet32(3, 10, (32, 32), conv, width), nn.Conv2d, 2_000)
    assert max(fit.widths) <= 4 * min(fit.widths)
    assert fit.widths[2] > 1


class EvenNet(Backbone):
    """Its widths are rounded to even numbers, so its size is no polynomial of them."""

    def __init__(self, conv: Conv, width: Width) -> None:
        super().__init__()
        self.widths = (max(1, round(8 * width)),) if isinstance(width, (int, float)) else (width[0],)
        channels = 2 * ((self.widths[0] + 1) // 2)
        self.layers = nn.Sequential(conv(1, channels, 3), conv(channels, channels, 3))


@pytest.mark.parametrize("budget", [60, 500, 5_000])
def test_a_budget_is_met_by_a_network_that_rounds_its_widths(budget: int) -> None:
    fit = fit_budget(EvenNet, nn.Conv2d, budget)
    assert fit.parameters == count_parameters(EvenNet(nn.Conv2d, fit.widths)) <= budget
    assert count_parameters(EvenNet(nn.Conv2d, (fit.widths[0] + 2,))) > budget
