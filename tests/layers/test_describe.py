"""The table of kinds tells what the layers do, and the docs tell the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_adaptconv.layers.kinds import BUILT_IN, conv_kind
from lit_adaptconv.measure.kind_cost import kind_cost

OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"
DESCRIPTIONS = {kind.name: kind for kind in BUILT_IN}
every_kind = pytest.mark.parametrize("kind", DESCRIPTIONS)


def trained(kind: str, **arguments: Any) -> nn.Module:
    """A layer away from its start, where some adaptive parts are zero by design."""
    torch.manual_seed(0)
    options = {"warmup": 0} if kind == "kernel_warehouse" else {}  # its attention begins as a constant
    layer = conv_kind(kind, options)(4, 4, 3, padding=1, **arguments).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    return layer.eval()


def images() -> Tensor:
    return torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def is_affine(layer: nn.Module, balanced: bool) -> bool:
    """Whether changes of the image add up in the output; `balanced` ones leave every channel's mean as it is."""
    x = images()
    changes = 0.3 * torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    if balanced:
        changes -= changes.mean((3, 4), keepdim=True)
    first, second = changes
    both = layer(x + first + second) - layer(x)
    return torch.allclose(both, layer(x + first) + layer(x + second) - 2 * layer(x), rtol=0, atol=1e-10)


@every_kind
def test_a_static_kernel_and_only_that_makes_the_layer_affine(kind: str) -> None:
    assert is_affine(trained(kind), balanced=False) == (DESCRIPTIONS[kind].kernel == "static")


@every_kind
def test_a_kernel_per_sample_depends_on_channel_means_alone_and_one_per_pixel_on_more(kind: str) -> None:
    per_pixel = DESCRIPTIONS[kind].kernel.startswith("per pixel")
    layer = trained(kind, padding_mode="circular")  # the means of its output, too, follow from those of the image
    assert is_affine(layer, balanced=True) == (not per_pixel)


@every_kind
def test_a_far_pixel_matters_exactly_where_the_kernel_depends_on_the_sample(kind: str) -> None:
    layer, x = trained(kind), images()
    if kind in ("deformable", "dcnv4"):
        nn.init.normal_(layer.get_parameter("offsets.weight"), std=0.01)  # taps that stay within a pixel of their place
        nn.init.zeros_(layer.get_parameter("offsets.bias"))
    changed = x.clone()
    changed[:, :, 0, 0] += 1
    unmoved = torch.equal(layer(x)[..., 5:, 5:], layer(changed)[..., 5:, 5:])
    assert unmoved == (not DESCRIPTIONS[kind].kernel.endswith("sample"))
    assert not torch.equal(layer(x)[..., 0, 0], layer(changed)[..., 0, 0])


@every_kind
def test_a_sample_s_output_does_not_depend_on_the_rest_of_the_batch(kind: str) -> None:
    layer, x = trained(kind), images()
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))


@every_kind
def test_the_costs_that_are_told_are_those_of_a_built_layer(kind: str) -> None:
    cost = kind_cost(kind)
    assert (DESCRIPTIONS[kind].parameters, DESCRIPTIONS[kind].flops) == (cost.parameters, cost.flops)


def test_a_standard_layer_costs_what_everyone_knows() -> None:
    assert kind_cost("standard").parameters == 16 * 16 * 9 + 16


def documented() -> dict[str, list[str]]:
    """The rows of the table in the docs, by kind."""
    rows = [line for line in OPERATORS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_docs_have_the_same_table() -> None:
    rows = documented()
    assert list(rows) == list(DESCRIPTIONS)
    for kind, text in DESCRIPTIONS.items():
        assert rows[kind] == [
            f"`{text.equation}`",
            text.kernel,
            f"{text.parameters:,}",
            f"{text.flops:,}",
            text.source,
        ]


@every_kind
def test_the_docs_have_a_section_for_every_kind(kind: str) -> None:
    headings = [line for line in OPERATORS.read_text(encoding="utf-8").splitlines() if line.startswith("### ")]
    assert sum(f"`{kind}`" in heading for heading in headings) == 1


@every_kind
def test_a_kind_that_may_leave_channels_unmixed_says_so(kind: str) -> None:
    x = images()
    changed = x.clone()
    changed[:, 3] += torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    layer = trained(kind)
    for name, module in layer.named_modules():
        if name.rpartition(".")[2] in ("reduce", "spatial", "channel"):  # the filters no longer depend on the image
            nn.init.zeros_(module.get_parameter("weight"))
    mixes = not torch.equal(layer(x)[:, 0], layer(changed)[:, 0])
    assert mixes == ("mixes channels only" not in DESCRIPTIONS[kind].caution)
