"""ResNets for small images: He et al.'s of 20 to 110 layers, and the ResNet-8 of MLPerf Tiny."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BlockActivation, set_activation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths
from lit_adaptconv.models.backbones.resnet import start_as_torchvision
from lit_adaptconv.models.backbones.stem import choose_stem_width
from lit_adaptconv.models.swap import swap_convolutions


class PadShortcut(nn.Module):
    """Shortcut without parameters (He et al.'s option A): every `stride`-th pixel, new channels zero.

    Where a stage is narrower than the one before, the channels beyond its width are dropped.
    """

    def __init__(self, added_channels: int, stride: int) -> None:
        super().__init__()
        self.added_channels = added_channels
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C + added_channels, H / stride, W / stride)`, rounded up."""
        return F.pad(input[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added_channels))


class CifarResNet(Backbone):
    """Residual network for small images: a 3×3 convolution, three stages of basic blocks, global pooling, linear.

    Its 6n + 2 layers have n blocks in each stage; shortcuts have no parameters (option A). The conv kind takes the
    place of every convolution. Blocks are torchvision's.

    Source: He, Zhang, Ren, Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016, section 4.2,
    https://arxiv.org/abs/1512.03385.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images; any will do.
        conv: The convolution to build with.
        width: A factor on the widths (16, 32, 64) of the stages, or three widths.
        activation: After every BatchNorm and every sum: "relu", "leaky_relu", "prelu", "gelu" or "identity"; the last
            leaves all that is not linear to the convolutions, as an adaptive one is.
        standard_first: Whether the stem keeps an ordinary convolution.
        stem_width: Channels of the stem, whatever the width; None means the first stage's width.

    Attributes:
        blocks: Number of blocks in each stage.
        bias: Whether the convolutions have a bias before their BatchNorm.
    """

    BASE: ClassVar[tuple[int, ...]] = (16, 32, 64)
    blocks: ClassVar[int]
    bias: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: tuple[int, int] = (32, 32),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        activation: BlockActivation = "relu",
        standard_first: bool = False,
        stem_width: int | None = None,
    ) -> None:
        super().__init__()
        self.widths = resolve_widths(self.BASE, width)
        first, second, third = self.widths
        stem_channels = choose_stem_width(stem_width, self.widths)
        self.conv1 = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=self.bias)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(stem_channels, first, 1)
        self.layer2 = self._stage(first, second, 2)
        self.layer3 = self._stage(second, third, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, num_classes)
        start_as_torchvision(self)
        set_activation(self, activation)
        stem = self.conv1
        swap_convolutions(self, conv, keep=lambda layer: standard_first and layer is stem)

    def _stage(self, before: int, after: int, stride: int) -> nn.Sequential:
        shortcut = None if stride == 1 and before == after else self.shortcut(before, after, stride)
        blocks = [BasicBlock(before, after, stride, shortcut)]
        blocks += [BasicBlock(after, after) for _ in range(1, self.blocks)]
        if self.bias:
            for block in blocks:
                for convolution in (block.conv1, block.conv2):
                    convolution.bias = nn.Parameter(convolution.weight.new_zeros(after))
        return nn.Sequential(*blocks)

    def shortcut(self, before: int, after: int, stride: int) -> nn.Module:
        """Make what stands beside a stage's first block."""
        return PadShortcut(after - before, stride)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        out = self.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.fc(self.avgpool(out).flatten(1))
        return logits


class ResNet8(CifarResNet):
    """ResNet-8 of MLPerf Tiny: 78,186 trainable parameters for 3×32×32 and ten classes.

    With BatchNorm's 480 running statistics, these are the 78,666 that the benchmark's model counts. As there, the
    convolutions have a bias and the shortcuts are 1×1 convolutions, which stay ordinary.

    Source: Banbury et al., *MLPerf Tiny Benchmark*, NeurIPS Datasets and Benchmarks 2021,
    https://arxiv.org/abs/2106.07597.

    Examples:
        >>> ResNet8(width=0.5)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    blocks = 1
    bias = True

    def shortcut(self, before: int, after: int, stride: int) -> nn.Module:
        """Make what stands beside a stage's first block."""
        return nn.Conv2d(before, after, 1, stride)


class ResNet20(CifarResNet):
    """ResNet-20: 269,722 parameters for 3×32×32 and ten classes."""

    blocks = 3


class ResNet32(CifarResNet):
    """ResNet-32: 464,154 parameters for 3×32×32 and ten classes."""

    blocks = 5


class ResNet56(CifarResNet):
    """ResNet-56: 853,018 parameters for 3×32×32 and ten classes."""

    blocks = 9


class ResNet110(CifarResNet):
    """ResNet-110: 1,727,962 parameters for 3×32×32 and ten classes."""

    blocks = 18
