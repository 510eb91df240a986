"""Every backbone with every conv kind: it learns, it compiles, and it meets a budget."""

from __future__ import annotations

import pytest
import torch
from short_networks import BACKBONES, SHORT
from torch import nn

from lit_adaptconv import backbones
from lit_adaptconv.backbones import Backbone
from lit_adaptconv.backbones.base import Width
from lit_adaptconv.budget import CLOSE_ENOUGH, Family, count_parameters, fit_budget
from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import KINDS
from lit_adaptconv.layers.conv import Conv
from lit_adaptconv.parameter_formula import on_meta

BUDGETS = (2_000, 10_000, 50_000, 250_000)
WIDTH = 0.1


QUICK = {("ResNet8", kind) for kind in KINDS} | {(network.__name__, "adaptive_low_rank") for network in BACKBONES}
"""What runs by default: every kind once, and every network once; the rest is slow."""


def pairs(networks: list[type[Backbone]], quick: set[tuple[str, str]]) -> list[object]:
    """Every network with every kind."""
    return [
        pytest.param(
            network,
            kind,
            id=f"{network.__name__}-{kind}",
            marks=[] if (network.__name__, kind) in quick else pytest.mark.slow,
        )
        for network in networks
        for kind in KINDS
    ]


def small(network: type[Backbone], kind: str) -> Backbone:
    return network(3, 10, (32, 32), KINDS[kind], 0.5 if network.__name__.endswith("Net5") else WIDTH)


@pytest.mark.parametrize(("network", "kind"), pairs(BACKBONES, QUICK))
def test_every_parameter_that_matters_gets_a_gradient_at_two_image_sizes(network: type[Backbone], kind: str) -> None:
    torch.manual_seed(0)
    for size in ((32, 32), (32, 40)):
        model = network(3, 10, size, KINDS[kind], WIDTH)
        logits = model(torch.randn(3, 3, *size))
        assert logits.shape == (3, 10)
        assert logits.isfinite().all()
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("network", "kind"), pairs(SHORT, {("ShortCifarResNet", "adaptive"), ("LeNet5", "condconv")}))
def test_every_family_compiles_without_a_graph_break_and_computes_the_same(network: type[Backbone], kind: str) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    model = small(network, kind).eval()
    images = torch.randn(2, 3, 32, 32)
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("network", "kind"), pairs(BACKBONES, QUICK - {(f"ResNet{depth}", "adaptive_low_rank") for depth in (56, 101, 110)})
)
def test_a_budget_is_used_to_98_percent_or_by_a_network_that_no_wider_one_fits(
    network: type[Backbone], kind: str
) -> None:
    def build(conv: Conv, width: Width) -> Backbone:
        return network(3, 10, (32, 32), conv, width)

    def built(widths: tuple[int, ...]) -> int:
        return count_parameters(on_meta(lambda: build(KINDS[kind], widths)))

    family = Family(build, KINDS[kind])
    narrowest = built(tuple(1 for _ in on_meta(lambda: build(nn.Conv2d, 1.0)).widths))
    assert narrowest <= BUDGETS[-2]
    for budget in BUDGETS:
        if narrowest > budget:
            with pytest.raises(UserError, match=f"^no network of this family .* has {narrowest:,}$"):
                family.fit(budget)
            continue
        fit = family.fit(budget)
        assert fit.parameters == built(fit.widths) <= budget
        if fit.parameters < CLOSE_ENOUGH * budget:
            wider = [(*fit.widths[:i], width + 1, *fit.widths[i + 1 :]) for i, width in enumerate(fit.widths)]
            assert all(family.parameters(widths) > budget for widths in wider)


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
