from __future__ import annotations

import pytest
import torch

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models.backbones import CaffeLeNet, DropoutLeNet, LeNet5


def test_lenet5_has_the_published_parameters_and_multiply_adds() -> None:
    network = LeNet5()
    assert count_parameters(network) == 61_706
    by_hand = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    activated_and_pooled = 2 * 6 * 28 * 28 + 2 * 16 * 10 * 10 + 120 + 84
    assert by_hand == 416_520
    assert forward_flops(network, (1, 28, 28)) == 2 * by_hand + activated_and_pooled


def test_caffe_lenet_has_the_published_parameters() -> None:
    assert count_parameters(CaffeLeNet()) == 431_080


def test_the_released_network_drops_whole_maps_in_training_alone() -> None:
    network = DropoutLeNet()
    assert count_parameters(network) == 6 * 26 + 133_660
    images = torch.rand(64, 1, 28, 28)
    maps = network.features[:5](images).flatten(2)
    dropped = (maps == 0).all(2)
    assert torch.equal(dropped, (maps == 0).any(2))
    assert 0.4 < dropped.float().mean() < 0.6
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("backbone", [LeNet5, CaffeLeNet, DropoutLeNet])
@pytest.mark.parametrize("kind", kinds())
def test_every_kind_maps_any_image_to_logits_and_learns_from_it(
    backbone: type[LeNet5] | type[CaffeLeNet] | type[DropoutLeNet], kind: str
) -> None:
    for channels, size, classes in ((1, (28, 28), 10), (3, (33, 47), 7), (2, (16, 16), 2)):
        network = backbone(channels, classes, size, conv_kind(kind), 0.5)
        logits = network(torch.randn(2, channels, *size))
        assert logits.shape == (2, classes)
        assert network.widths == tuple(round(width / 2) for width in backbone.BASE)
        logits.sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("backbone", "least"), [(LeNet5, 12), (DropoutLeNet, 12), (CaffeLeNet, 16)])
def test_the_smallest_image_works_and_one_pixel_less_says_what_is_needed(
    backbone: type[LeNet5] | type[CaffeLeNet] | type[DropoutLeNet], least: int
) -> None:
    assert backbone(image_size=(least, least + 5))(torch.randn(1, 1, least, least + 5)).shape == (1, 10)
    with pytest.raises(UserError, match=f"needs images of at least {least} pixels a side, got 40×{least - 1}$"):
        backbone(image_size=(40, least - 1))
