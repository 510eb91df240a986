"""MobileNetV2, of torchvision's blocks."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BlockActivation, set_activation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths
from lit_adaptconv.models.backbones.stem import Stem, choose_stem
from lit_adaptconv.models.swap import swap_convolutions


class MobileNetV2(Backbone):
    """MobileNetV2: inverted residual blocks, whose 3×3 convolutions are depthwise; 3,504,872 parameters.

    The kind replaces the stem's convolution and every depthwise one (with as many `groups` as channels); 1×1
    convolutions stay ordinary. With kind `standard`, width 1 and the "imagenet" stem, parameters, initialisation,
    names in the `state_dict` and outputs are torchvision's. Unlike torchvision's `width_mult`, a width is not rounded
    to multiples of 8 and also narrows the last convolution, so that small budgets can be met.

    Source: Sandler, Howard, Zhu, Zhmoginov, Chen, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, CVPR 2018,
    https://arxiv.org/abs/1801.04381.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images.
        conv: The convolution to build with.
        width: A factor on the widths, or nine: the stem's (32), the seven stages' (16, 24, 32, 64, 96, 160, 320), and
            the last convolution's (1280). A block is six times as wide inside as its input.
        stem: "imagenet", or "cifar", in which the stem and the second stage keep the resolution; None chooses "cifar"
            for images below 64 pixels.
        standard_first: Whether the stem keeps an ordinary convolution.
        dropout: Share of the last layer's inputs that is dropped in training.
        activation: Replaces every ReLU6: "relu6", "relu", "leaky_relu", "prelu", "gelu" or "identity".

    Examples:
        >>> MobileNetV2(num_classes=10, image_size=(32, 32), width=0.25)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    BASE: ClassVar[tuple[int, ...]] = (32, 16, 24, 32, 64, 96, 160, 320, 1280)
    EXPANSIONS: ClassVar[tuple[int, ...]] = (1, 6, 6, 6, 6, 6, 6)
    BLOCKS: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 3, 3, 1)
    STRIDES: ClassVar[tuple[int, ...]] = (1, 2, 2, 2, 1, 2, 1)

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
        dropout: float = 0.2,
        activation: BlockActivation = "relu6",
    ) -> None:
        super().__init__()
        self.widths = resolve_widths(self.BASE, width)
        before, *stages, last = self.widths
        small = choose_stem(stem, image_size) == "cifar"
        strides = (1, 1, *self.STRIDES[2:]) if small else self.STRIDES
        first = Conv2dNormActivation(in_channels, before, stride=1 if small else 2, activation_layer=nn.ReLU6)
        layers: list[nn.Module] = [first]
        for after, expansion, blocks, stride in zip(stages, self.EXPANSIONS, self.BLOCKS, strides, strict=True):
            for block in range(blocks):
                layers.append(InvertedResidual(before, after, 1 if block else stride, expansion))
                before = after
        layers.append(Conv2dNormActivation(before, last, kernel_size=1, activation_layer=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self._start_as_torchvision()
        set_activation(self, activation)
        stem_conv = first[0]
        swap_convolutions(self, conv, keep=lambda layer: standard_first and layer is stem_conv)

    def _start_as_torchvision(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        logits: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits
