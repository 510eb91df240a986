"""Backbones with ordinary convolutions are the published networks: sizes, names and outputs."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers import AdaptiveConv2d
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.count import count_parameters
from lit_adaptconv.models import backbones
from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.models.backbones.cifar_resnet import PadShortcut
from lit_adaptconv.models.backbones.stem import choose_stem


@pytest.mark.parametrize(
    ("ours", "theirs", "parameters"),
    [
        (backbones.ResNet18, "resnet18", 11_689_512),
        (backbones.ResNet34, "resnet34", 21_797_672),
        pytest.param(backbones.ResNet50, "resnet50", 25_557_032, marks=pytest.mark.slow),
        pytest.param(backbones.ResNet101, "resnet101", 44_549_160, marks=pytest.mark.slow),
        (backbones.MobileNetV2, "mobilenet_v2", 3_504_872),
        (backbones.SqueezeNet, "squeezenet1_1", 1_235_496),
    ],
)
def test_with_torchvisions_weights_the_outputs_are_torchvisions(
    ours: type[Backbone], theirs: str, parameters: int
) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.get_model(theirs, weights=None).eval()
    network = ours(3, 1000, (64, 64), nn.Conv2d, 1.0).eval()
    network.load_state_dict(reference.state_dict())
    assert count_parameters(network) == parameters
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network(images), reference(images))


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (backbones.ResNet20, 269_722),
        (backbones.ResNet32, 464_154),
        (backbones.ResNet56, 853_018),
        (backbones.ResNet110, 1_727_962),
        (backbones.ResNet8, 78_186),
        (backbones.ResNet18, 11_173_962),
    ],
)
def test_networks_for_cifar_have_their_published_sizes(build: type[Backbone], parameters: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build(3, 10, (32, 32), nn.Conv2d, 1.0)) == parameters


def test_resnet8_has_the_size_that_mlperf_tiny_counts_with_batch_norms_running_statistics() -> None:
    network = backbones.ResNet8()
    statistics = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    assert count_parameters(network) + statistics == 78_666


def test_a_cifar_resnet_of_depth_6n_plus_2_has_that_many_layers() -> None:
    for build, depth in ((backbones.ResNet20, 20), (backbones.ResNet32, 32), (backbones.ResNet110, 110)):
        with torch.device("meta"):
            network = build()
        assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in network.modules()) == depth


def test_the_shortcut_without_parameters_subsamples_and_adds_zero_channels() -> None:
    x = torch.randn(2, 3, 7, 6)
    out = PadShortcut(2, 2)(x)
    assert out.shape == (2, 5, 4, 3)
    for row in range(4):
        for column in range(3):
            assert torch.equal(out[:, :3, row, column], x[:, :, 2 * row, 2 * column])
    assert not out[:, 3:].any()
    assert torch.equal(PadShortcut(-1, 1)(x), x[:, :2])


def test_small_images_get_the_small_stem_unless_another_is_asked_for() -> None:
    assert choose_stem(None, (32, 224)) == "cifar"
    assert choose_stem(None, (64, 64)) == "imagenet"
    assert choose_stem("imagenet", (32, 32)) == "imagenet"
    network = backbones.ResNet18(3, 10, (32, 32), nn.Conv2d, 0.1)
    features = nn.Sequential(*list(network.children())[:8])
    assert features(torch.randn(1, 3, 32, 32)).shape[-2:] == (4, 4)


def test_the_kind_takes_the_place_of_convolutions_larger_than_1x1_alone() -> None:
    for build in (backbones.ResNet50, backbones.MobileNetV2, backbones.SqueezeNet, backbones.ResNet8):
        network = build(3, 10, (32, 32), AdaptiveConv2d, 0.1)
        plain = [m for m in network.modules() if type(m) is nn.Conv2d]
        assert plain
        assert all(m.kernel_size == (1, 1) for m in plain)
        assert any(isinstance(m, AdaptiveConv2d) for m in network.modules())


@pytest.mark.parametrize("name", ["ResNet18", "ResNet20", "MobileNetV2", "SqueezeNet"])
def test_the_stem_can_stay_ordinary(name: str) -> None:
    build = getattr(backbones, name)
    ordinary = build(3, 10, (32, 32), AdaptiveConv2d, 0.2, standard_first=True)
    plain = [m for m in ordinary.modules() if type(m) is nn.Conv2d and m.kernel_size != (1, 1)]
    assert [m.in_channels for m in plain] == [3]


def test_the_stem_can_have_a_width_of_its_own() -> None:
    """A ResNet-18 with 16 channels in its stem has what the released code counts for one, without its first layer."""
    network = backbones.ResNet18(3, 10, (32, 32), stem_width=16)
    assert count_parameters(network) - count_parameters(network.conv1) == 11_145_642
    small = backbones.ResNet20(stem_width=4)
    assert count_parameters(backbones.ResNet20()) - count_parameters(small) == 12 * 27 + 12 * 2 + 12 * 16 * 9
    assert small.widths == (16, 32, 64)
    for made in (network, small):
        assert made(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(UserError, match="^stem_width must be at least 1, got 0$"):
        backbones.ResNet20(stem_width=0)


def test_batch_norm_keeps_the_activations_of_a_squeezenet_alive() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32)
    kind = conv_kind("separable")
    without = backbones.SqueezeNet(3, 10, (32, 32), kind, 0.5).features(images).std()
    network = backbones.SqueezeNet(3, 10, (32, 32), kind, 0.5, batch_norm=True)
    assert network.features(images).std() > 0.3 > 0.1 > without


@pytest.mark.parametrize("width", [0.0, -1.0, [1, 2], [0, 1, 1]])
def test_a_wrong_width_is_answered_in_one_line(width: float | list[int]) -> None:
    with pytest.raises(UserError, match=r"^width must be [^\n]*$"):
        backbones.ResNet20(3, 10, (32, 32), nn.Conv2d, width)


def test_images_too_small_for_a_squeezenet_are_answered_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^SqueezeNet needs images of at least 8 pixels a side, got 7×9$"):
        backbones.SqueezeNet(3, 10, (7, 9))
    assert backbones.SqueezeNet(3, 10, (8, 8))(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    assert backbones.SqueezeNet(3, 10, (17, 17), stem="imagenet")(torch.zeros(1, 3, 17, 17)).shape == (1, 10)
