from __future__ import annotations

import pytest
import torch

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind, kinds
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models.backbones import CaffeLeNet, ConvNet, LeNet5


def test_the_two_lenets_have_the_parameters_of_the_literature() -> None:
    assert count_parameters(LeNet5()) == 61_706
    assert count_parameters(CaffeLeNet()) == 431_080
    assert count_parameters(ConvNet()) == 1_196


def test_multiply_adds_of_lenet5_by_hand() -> None:
    by_hand = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    assert by_hand == 416_520
    assert forward_flops(LeNet5(), (1, 28, 28)) == 2 * by_hand


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("backbone", [LeNet5, CaffeLeNet, ConvNet])
@pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (32, 20))])
def test_every_kind_goes_forward_and_backward(
    backbone: type[LeNet5], kind: str, channels: int, size: tuple[int, int]
) -> None:
    model = backbone(channels, 7, size, conv_kind(kind), 0.5)
    logits = model(torch.randn(2, channels, *size))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_images_that_the_poolings_use_up_are_refused() -> None:
    with pytest.raises(UserError, match="at least 12 pixels"):
        LeNet5(1, 10, (11, 28))
    with pytest.raises(UserError, match="at least 16 pixels"):
        CaffeLeNet(1, 10, (15, 16))
    with pytest.raises(UserError, match="too small"):
        ConvNet(1, 10, (8, 8), padding="valid", channels=(4, 4, 4), pool_after=(0, 1))
    LeNet5(1, 10, (12, 12))(torch.zeros(1, 1, 12, 12))
    CaffeLeNet(1, 10, (16, 16))(torch.zeros(1, 1, 16, 16))
