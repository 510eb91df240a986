"""Every conv kind in places of every sort, and every backbone, exports to ONNX; onnxruntime agrees with PyTorch."""

from __future__ import annotations

import re

import pytest
import torch
from places import SMALL, Flat, covering
from short_networks import BACKBONES
from torch import Tensor, nn

from lit_adaptconv.data import Digits
from lit_adaptconv.errors import UserError
from lit_adaptconv.export import onnx
from lit_adaptconv.export.check import TOLERANCE, compare
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.models.backbones import Backbone

SIDE = 16
NARROW = 0.1

# PyTorch's exporter warns about itself; its warnings are not the package's.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("unchecked")]


def first_digits(count: int) -> tuple[Tensor, Tensor]:
    data = Digits(image_size=SIDE, eval_batch_size=count)
    data.setup("test")
    batch: tuple[Tensor, Tensor] = next(iter(data.test_dataloader()))
    return batch


def check(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    pytest.importorskip("onnxruntime")
    for _ in range(3):  # statistics that BatchNorm could not leave out
        model(images)
    model.eval()
    proto = onnx.to_onnx(model, tuple(images.shape[1:]))
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    run = onnx.runtime(proto)
    agreement = compare(run, model, [(images, labels)])
    assert agreement.images == len(images)
    scale = model(images).abs().max().item()
    assert agreement.largest_difference <= TOLERANCE * min(1.0, scale)
    for part in (images[:1], images[1:]):
        torch.testing.assert_close(run(part), model(part), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds())
def test_onnxruntime_computes_every_kind_in_places_of_every_sort(kind: str) -> None:
    torch.manual_seed(0)
    network = Flat(kind, covering(SMALL))
    network.layers.append(conv_kind(kind)(4, 6, 3, stride=2, padding=1, groups=2))  # groups that no backbone has
    check(network, torch.randn(6, 4, 9, 10), torch.zeros(6, dtype=torch.int64))


DEEP = [network for network in BACKBONES if not re.fullmatch(r"ResNet(8|32|44|56|110|18|50)", network.__name__)]
"""Every backbone but those of a family that has a deeper one; of ResNets for small images one that takes no minutes.

A hundred convolutions one after the other are ResNet101's.
"""


@pytest.mark.slow
@pytest.mark.parametrize("network", DEEP, ids=lambda network: network.__name__)
def test_onnxruntime_computes_every_family_in_its_depth(network: type[Backbone]) -> None:
    torch.manual_seed(0)
    width = 0.5 if network.__name__.endswith("Net5") else NARROW
    check(network(1, 10, (SIDE, SIDE), conv_kind("adaptive_low_rank"), width), *first_digits(6))


def test_a_comparison_tells_the_largest_difference_and_both_accuracies() -> None:
    network = torch.nn.Flatten()
    images = torch.eye(3).view(3, 3, 1)  # the logits are the images: classes 0, 1, 2
    agreement = compare(lambda x: x.flatten(1).roll(1, dims=1), network, [(images, torch.tensor([0, 1, 0]))])
    assert (agreement.images, agreement.largest_difference) == (3, 1.0)
    assert agreement.torch_accuracy == pytest.approx(2 / 3)
    assert agreement.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [2e-4, float("nan"), float("inf")])
def test_a_difference_that_is_not_rounding_is_an_error(value: float) -> None:
    network = torch.nn.Flatten()
    batches = [(torch.zeros(2, 3, 1), torch.zeros(2, dtype=torch.int64))] * 2
    agreement = compare(lambda x: x.flatten(1) + value, network, batches)
    with pytest.raises(UserError, match="differ from PyTorch"):
        agreement.check("onnxruntime")


def test_as_many_images_are_compared_as_was_asked_for() -> None:
    seen: list[int] = []

    def run(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1)

    batches = [(torch.zeros(4, 3, 1), torch.zeros(4, dtype=torch.int64))] * 3
    assert compare(run, torch.nn.Flatten(), batches, images=6).images == 6
    assert seen == [1, 3, 2]
    with pytest.raises(UserError, match="no test images"):
        compare(run, torch.nn.Flatten(), [])
