"""What is exported for ExecuTorch and LiteRT computes what PyTorch does, from one image."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from places import SMALL, Flat, covering
from short_networks import SHORT
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from lit_adaptconv.errors import UserError
from lit_adaptconv.export import executorch, litert
from lit_adaptconv.export.check import TOLERANCE, Run, compare
from lit_adaptconv.export.lowering import to_static_program
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.models.backbones import Backbone

# PyTorch's exporter warns about itself; its warnings are not the package's.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("unchecked")]
Shape = tuple[int, int, int]
Runtime = Callable[[nn.Module, Shape], Run]


def static(network: nn.Module, shape: Shape) -> Run:
    return to_static_program(network, shape).module()


def by_executorch(network: nn.Module, shape: Shape) -> Run:
    return executorch.runtime(executorch.save(executorch.to_executorch(network, shape), {}))


def by_litert(network: nn.Module, shape: Shape) -> Run:
    return litert.runtime(litert.save(litert.to_litert(network, shape), {}))


def needs(package: str) -> list[pytest.MarkDecorator]:
    missing = importlib.util.find_spec(package) is None
    return [pytest.mark.slow, pytest.mark.skipif(missing, reason=f"{package} is not installed")]


RUNTIMES = [
    pytest.param(by_executorch, id="executorch", marks=needs("executorch")),
    pytest.param(by_litert, id="litert", marks=needs("litert_torch")),
]


def check(runtime: Runtime, network: nn.Module, images: Tensor) -> None:
    for _ in range(2):  # statistics that BatchNorm could not leave out
        network(images)
    network.eval()
    run = runtime(network, tuple(images.shape[1:]))
    agreement = compare(run, network, [(images, torch.zeros(len(images), dtype=torch.int64))])
    with torch.no_grad():
        scale = network(images).abs().max().item()
    assert agreement.largest_difference <= TOLERANCE * min(1.0, scale)


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_kind_in_places_of_every_sort(runtime: Runtime, kind: str) -> None:
    torch.manual_seed(0)
    network = Flat(kind, covering(SMALL))
    for layer in network.modules():
        if hasattr(layer, "offsets"):  # deformable: they start at zero, where nothing is shifted
            nn.init.normal_(layer.offsets.weight, std=0.3)  # type: ignore[arg-type]
    check(runtime, network, torch.randn(3, 4, 9, 10))


@pytest.mark.parametrize("network", SHORT, ids=lambda network: network.__name__)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_of_every_family(runtime: Runtime, network: type[Backbone]) -> None:
    torch.manual_seed(0)
    check(runtime, network(1, 10, (32, 32), conv_kind("adaptive_low_rank"), 0.25), torch.randn(3, 1, 32, 32))


TAKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "a part": lambda weight: weight[2:6, 1:3],
    "every other": lambda weight: weight[::2, ::3],
    "transposed": lambda weight: weight[:2, :4].transpose(0, 1),
    "turned": lambda weight: weight[:4, :2].transpose(2, 3),
    "mirrored": lambda weight: weight[:4, :2].flip(3),
    "one for all": lambda weight: weight[:1, :2].expand(4, -1, -1, -1),
    "reshaped": lambda weight: weight[:, :1].transpose(0, 1).reshape(4, 2, 3, 3),
    "joined": lambda weight: torch.cat((weight[:1, :2], weight[3:6, :2])),
    "made": lambda weight: torch.eye(4, 2, dtype=weight.dtype)[..., None, None] * weight[:1, :1],
    "rounded": lambda weight: weight[:4, :2].double().round(decimals=1).float(),
}


class Rearranges(nn.Module):
    """Convolves with weights that it takes out of parameters in every way, of which each gives one part of the output.

    Of a parameter it takes a part besides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(8, 6, 3, 3) for _ in TAKEN)

    def forward(self, images: Tensor) -> Tensor:
        outs = [
            F.conv2d(images, taken(weight), padding=1) + F.conv2d(images, weight[4:, :2], padding=1)
            for taken, weight in zip(TAKEN.values(), self.weights, strict=True)
        ]
        return torch.stack(outs, dim=1).mean((3, 4)).flatten(1)


@pytest.mark.parametrize("runtime", [pytest.param(static, id="torch"), *RUNTIMES])
def test_weights_are_those_that_a_layer_takes_from_a_parameter(runtime: Runtime) -> None:
    torch.manual_seed(0)
    check(runtime, Rearranges(), torch.randn(2, 2, 5, 6))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_images_may_lie_in_memory_as_they_like(runtime: Runtime, channels: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.Flatten()).eval()
    run = runtime(network, (channels, 5, 4))
    images = torch.randn(4, channels, 5, 4)
    with torch.no_grad():
        expected = network(images)
    for laid in (
        images.to(memory_format=torch.channels_last),
        images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        images.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        torch.cat((images, images), dim=3)[..., 4:],
    ):
        torch.testing.assert_close(run(laid), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["standard", "separable", "adaptive", "adaptive_low_rank"])
def test_in_int8_a_network_for_executorch_is_smaller_and_computes_nearly_the_same(kind: str) -> None:
    pytest.importorskip("executorch")
    torch.manual_seed(0)
    shape = (2, 8, 8)
    first = conv_kind(kind)(2, 64, 3)
    network = nn.Sequential(first, nn.BatchNorm2d(64), nn.Conv2d(64, 32, 3), nn.Flatten(), nn.Linear(512, 10))
    batches = [(torch.randn(8, *shape), torch.zeros(8, dtype=torch.int64)) for _ in range(2)]
    plain = executorch.save(executorch.to_executorch(network.eval(), shape), {})
    int8 = executorch.save(executorch.to_executorch(network, shape, batches), {})
    assert len(int8) < 0.7 * len(plain)
    images, _ = batches[0]
    with torch.no_grad():
        expected = network(images)
    apart = (executorch.runtime(int8)(images) - expected).abs().max()
    assert 0 < apart < 0.1 * (expected.max() - expected.min())


class Wide(nn.Module):
    """Has a tensor of more dimensions than XNNPACK knows."""

    def forward(self, images: Tensor) -> Tensor:
        cut = images.unflatten(1, (2, 1, 2)).unflatten(-1, (2, -1)).unflatten(-3, (2, -1))
        return (cut * cut.flip(2)).flatten(1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_tensor_of_seven_dimensions(runtime: Runtime) -> None:
    check(runtime, Wide(), torch.randn(2, 4, 4, 6))


PADDINGS: list[tuple[list[int], str, float | None]] = [
    ([1, 2, 0, 3], "constant", 1.5),
    ([-1, -2, -1, 0], "constant", None),
    ([-2, 1, 3, -1], "constant", 1.5),
    ([0, -3], "constant", 0.0),
    ([-1, 0, 2, -2, -1, 1], "constant", 1.5),
    ([1, 2, 0, 3], "reflect", None),
    ([1, 2, 0, 3], "replicate", None),
    ([1, 2, 0, 3], "circular", None),
]


class Padded(nn.Module):
    """Pads and crops in every way, of which each gives one part of the output."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([F.pad(images, pad, mode, value).flatten(1) for pad, mode, value in PADDINGS], dim=1)


@pytest.mark.parametrize("runtime", [pytest.param(static, id="torch"), *RUNTIMES])
def test_padding_may_crop(runtime: Runtime) -> None:
    check(runtime, Padded(), torch.randn(2, 3, 7, 6))


class Deformed(nn.Module):
    """torchvision's deformable convolution, with all that it can be given."""

    def __init__(self, groups: int, offset_groups: int, masked: bool, **geometry: Any) -> None:
        super().__init__()
        self.geometry = geometry
        self.weight = nn.Parameter(torch.randn(4, 4 // groups, 3, 2))
        self.bias = nn.Parameter(torch.randn(4))
        self.offsets = nn.Conv2d(4, 12 * offset_groups, (3, 2), **geometry)
        self.mask = nn.Conv2d(4, 6 * offset_groups, (3, 2), **geometry) if masked else None

    def forward(self, images: Tensor) -> Tensor:
        mask = None if self.mask is None else self.mask(images)
        out: Tensor = deform_conv2d(images, self.offsets(images), self.weight, self.bias, mask=mask, **self.geometry)
        return out.flatten(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "offset_groups", "masked", "geometry"),
    [
        (1, 1, True, {}),
        (2, 1, False, {"stride": (2, 1), "padding": (0, 3)}),
        (1, 2, True, {"padding": 2, "dilation": (1, 2)}),
        (4, 4, True, {"stride": 3, "padding": 1}),
    ],
)
def test_a_deformable_convolution_is_decomposed(
    groups: int, offset_groups: int, masked: bool, geometry: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    check(static, Deformed(groups, offset_groups, masked, **geometry), torch.randn(2, 4, 7, 5))


class Decomposes(nn.Module):
    """Needs an operator that no device's runtime has."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.svdvals(images).flatten(1)


class LooksAtItsInput(nn.Module):
    """Chooses what to compute by the values of its input, which no exporter can follow."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


@pytest.mark.parametrize("network", [Decomposes(), LooksAtItsInput()], ids=lambda network: type(network).__name__)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_that_cannot_be_exported_says_why_in_one_line(runtime: Runtime, network: nn.Module) -> None:
    with pytest.raises(UserError, match=r"cannot be (exported|lowered|written|converted).*: \S+") as raised:
        runtime(network, (1, 4, 4))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("export", "extra"), [(executorch.to_executorch, "executorch"), (litert.to_litert, "litert")])
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    export: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"needs .*{extra}.*: pip install 'lit-adaptconv\[{extra}\]'"):
        export(nn.Flatten(), (1, 4, 4))
