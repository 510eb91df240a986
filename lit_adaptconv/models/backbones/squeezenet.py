"""SqueezeNet 1.1, of torchvision's blocks."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.squeezenet import Fire

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BlockActivation, set_activation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths
from lit_adaptconv.models.backbones.stem import Stem, choose_stem
from lit_adaptconv.models.swap import swap_convolutions


class SqueezeNet(Backbone):
    """SqueezeNet 1.1: fire modules, which squeeze by 1×1 and expand by 1×1 and 3×3 convolutions; 1,235,496 parameters.

    The conv kind replaces the stem's convolution and every 3×3 one; 1×1 convolutions stay ordinary. With
    kind `standard`, width 1 and the "imagenet" stem, parameters, initialisation, names in the `state_dict` and outputs
    are torchvision's. As published, it has no normalisation, and needs a lower learning rate than a ResNet.

    Source: Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, *SqueezeNet*, 2016, https://arxiv.org/abs/1602.07360, and
    its authors' version 1.1.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images, at least 8 each with the "cifar" stem and 17 with the other.
        conv: The convolution to build with.
        width: A factor on the widths, or seventeen: the stem's (64), then for each of the eight fire modules its
            squeeze (16, 16, 32, 32, 48, 48, 64, 64) and the width of each of its two expansions (64, 64, 128, 128,
            192, 192, 256, 256).
        stem: "imagenet", a 3×3 convolution of stride 2, or "cifar", a padded one of stride 1; None chooses "cifar" for
            images below 64 pixels.
        standard_first: Whether the stem keeps an ordinary convolution.
        dropout: Share of the last layer's inputs that is dropped in training.
        batch_norm: Whether BatchNorm follows every convolution but the last. Most kinds start by keeping the variance
            of their input, which eight ReLUs would use up without it.
        activation: Replaces every ReLU: "relu", "leaky_relu", "prelu", "gelu" or "identity".

    Raises:
        UserError: Images that are too small.

    Examples:
        >>> SqueezeNet(num_classes=10, image_size=(64, 64), width=0.25)(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 10])
    """

    SQUEEZES: ClassVar[tuple[int, ...]] = (16, 16, 32, 32, 48, 48, 64, 64)
    BASE: ClassVar[tuple[int, ...]] = (64, *(width for squeeze in SQUEEZES for width in (squeeze, 4 * squeeze)))
    POOL_BEFORE: ClassVar[tuple[int, ...]] = (0, 2, 4)

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
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: BlockActivation = "relu",
    ) -> None:
        super().__init__()
        self.widths = resolve_widths(self.BASE, width)
        before, *fires = self.widths
        small = choose_stem(stem, image_size) == "cifar"
        smallest = 8 if small else 17
        if min(image_size) < smallest:
            raise UserError(
                f"SqueezeNet needs images of at least {smallest} pixels a side, got {image_size[0]}×{image_size[1]}"
            )
        first = nn.Conv2d(in_channels, before, 3, padding=1) if small else nn.Conv2d(in_channels, before, 3, 2)
        layers: list[nn.Module] = [first, nn.ReLU(inplace=True)]
        for fire, (squeeze, expand) in enumerate(zip(fires[::2], fires[1::2], strict=True)):
            if fire in self.POOL_BEFORE:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            layers.append(Fire(before, squeeze, expand, expand))
            before = 2 * expand
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Conv2d(before, num_classes, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        self._start_as_torchvision()
        set_activation(self, activation)
        swap_convolutions(self, conv, keep=lambda layer: standard_first and layer is first)
        if batch_norm:
            self._normalise()

    def _normalise(self) -> None:
        stem_width, *fires = self.widths
        self.features[0] = nn.Sequential(self.features[0], nn.BatchNorm2d(stem_width))
        modules = [module for module in self.features if isinstance(module, Fire)]
        for fire, squeeze, expand in zip(modules, fires[::2], fires[1::2], strict=True):
            for name, width in (("squeeze", squeeze), ("expand1x1", expand), ("expand3x3", expand)):
                setattr(fire, name, nn.Sequential(getattr(fire, name), nn.BatchNorm2d(width)))

    def _start_as_torchvision(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is self.classifier[1]:
                    nn.init.normal_(module.weight, 0, 0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        logits: Tensor = self.classifier(self.features(images)).flatten(1)
        return logits
