"""ResNet-18, 34, 50 and 101, of torchvision's blocks."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BlockActivation, set_activation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths
from lit_adaptconv.models.backbones.stem import Stem, choose_stem, choose_stem_width
from lit_adaptconv.models.swap import swap_convolutions


class ResNet(Backbone):
    """Residual network for photographs: four stages of blocks, each at half the resolution of the one before.

    The conv kind takes the place of every convolution larger than 1×1: the stem's, both of a basic block, the middle
    one of a bottleneck. 1×1 convolutions, which see no neighbourhood, stay ordinary. With kind `standard`, width 1 and
    the "imagenet" stem, parameters, initialisation, names in the `state_dict` and outputs are torchvision's.

    Source: He, Zhang, Ren, Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016,
    https://arxiv.org/abs/1512.03385; a bottleneck's stride lies in its 3×3 convolution, as in torchvision.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images.
        conv: The convolution to build with.
        width: A factor on the widths (64, 128, 256, 512) of the stages, or four widths; a bottleneck's output has four
            times its stage's width.
        stem: "imagenet", a 7×7 convolution of stride 2 and 3×3 max pooling, or "cifar", a 3×3 convolution; None
            chooses "cifar" for images below 64 pixels.
        standard_first: Whether the stem keeps an ordinary convolution.
        activation: Replaces every ReLU: "relu", "leaky_relu", "prelu", "gelu" or "identity".
        stem_width: Channels of the stem, whatever the width; None means the first stage's width.

    Attributes:
        block: The kind of block.
        blocks: Number of blocks in each stage.
    """

    BASE: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    block: ClassVar[type[BasicBlock | Bottleneck]]
    blocks: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: tuple[int, int] = (224, 224),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        stem: Stem | None = None,
        standard_first: bool = False,
        activation: BlockActivation = "relu",
        stem_width: int | None = None,
    ) -> None:
        super().__init__()
        self.widths = resolve_widths(self.BASE, width)
        first = choose_stem_width(stem_width, self.widths)
        if choose_stem(stem, image_size) == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, first, 7, 2, 3, bias=False)
            self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1)
        else:
            self.conv1 = nn.Conv2d(in_channels, first, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(0, first)
        self.layer2, self.layer3, self.layer4 = (
            self._stage(i, self.widths[i - 1] * self.block.expansion) for i in (1, 2, 3)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.widths[3] * self.block.expansion, num_classes)
        start_as_torchvision(self)
        set_activation(self, activation)
        stem_conv = self.conv1
        swap_convolutions(self, conv, keep=lambda layer: standard_first and layer is stem_conv)

    def _stage(self, stage: int, before: int) -> nn.Sequential:
        """Make a stage's blocks, the first of which changes the resolution and the width."""
        width, stride = self.widths[stage], 2 if stage else 1
        after = width * self.block.expansion
        shortcut = None
        if stride != 1 or before != after:
            shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        blocks = [self.block(before, width, stride, shortcut)]
        return nn.Sequential(*blocks, *(self.block(after, width) for _ in range(1, self.blocks[stage])))

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        out = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.fc(self.avgpool(out).flatten(1))
        return logits


def start_as_torchvision(network: nn.Module) -> None:
    """Draw the ordinary convolutions as torchvision's ResNets do: normal, of variance 2 / (C_out * k²)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet18(ResNet):
    """ResNet-18: 11,689,512 parameters for 1000 classes, 11,173,962 for ten with the "cifar" stem.

    Examples:
        >>> ResNet18(num_classes=10, image_size=(32, 32), width=0.25)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    block = BasicBlock
    blocks = (2, 2, 2, 2)


class ResNet34(ResNet):
    """ResNet-34: 21,797,672 parameters for 1000 classes."""

    block = BasicBlock
    blocks = (3, 4, 6, 3)


class ResNet50(ResNet):
    """ResNet-50: 25,557,032 parameters for 1000 classes."""

    block = Bottleneck
    blocks = (3, 4, 6, 3)


class ResNet101(ResNet):
    """ResNet-101: 44,549,160 parameters for 1000 classes."""

    block = Bottleneck
    blocks = (3, 4, 23, 3)
