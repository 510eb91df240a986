"""Every backbone, and the shortest network of each family: a deeper one repeats its blocks, which takes minutes."""

from __future__ import annotations

from typing import Any

from lit_adaptconv.models import backbones
from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.models.backbones.cifar_resnet import CifarResNet
from lit_adaptconv.models.backbones.resnet import BasicBlock, Bottleneck, ResNet

BACKBONES: list[type[Backbone]] = [
    value
    for value in (getattr(backbones, name) for name in backbones.__all__)
    if isinstance(value, type) and issubclass(value, Backbone) and value is not Backbone
]


class ShortResNet(ResNet):
    block = BasicBlock
    blocks = (1, 1, 1, 1)


class ShortBottleneckResNet(ResNet):
    block = Bottleneck
    blocks = (1, 1, 1, 1)


class ShortCifarResNet(CifarResNet):
    blocks = 1


class ShortMobileNetV2(backbones.MobileNetV2):
    BASE = (32, 16, 24, 64)
    EXPANSIONS = (1, 6)
    BLOCKS = (1, 2)
    STRIDES = (1, 2)


class ShortThriftyNet(backbones.ThriftyNet):
    """As long as its history, and a step."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, steps=5, pool_after=(1,), **options)


SHORT: list[type[Backbone]] = [
    ShortResNet,
    ShortBottleneckResNet,
    ShortCifarResNet,
    ShortMobileNetV2,
    backbones.SqueezeNet,
    backbones.LeNet5,
    backbones.CaffeLeNet,
    backbones.DropoutLeNet,
    backbones.ConvNet,
    ShortThriftyNet,
]
