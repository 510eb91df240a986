"""The networks that "LeNet" can mean: LeNet-5, the larger one that came with Caffe, and one with dropout."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BLOCK_ACTIVATIONS, BlockActivation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths


def _pooled(image_size: tuple[int, int], padding: int, name: str) -> tuple[int, int]:
    """Image size after two unpadded-but-for-the-first 5×5 convolutions, each with 2×2 pooling."""
    height, width = (((size + 2 * padding - 4) // 2 - 4) // 2 for size in image_size)
    if min(height, width) < 1:
        raise UserError(
            f"{name} needs images of at least {16 - 2 * padding} pixels a side, got {image_size[0]}×{image_size[1]}"
        )
    return height, width


class _LeNet(Backbone):
    """Base of the three: convolutions with pooling, then linear layers."""

    features: nn.Sequential
    head: nn.Sequential

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        logits: Tensor = self.head(self.features(images))
        return logits


class LeNet5(_LeNet):
    """LeNet-5 with ReLU and max pooling: 61,706 parameters for 1×28×28 and ten classes.

    Convolution 5×5 to 6 maps (padding 2), pooling, convolution 5×5 to 16, pooling, then linear layers of 120, 84 and
    `num_classes`. After LeCun et al., *Gradient-based learning applied to document recognition*, 1998, with today's
    activation and pooling, and every map of the second convolution connected.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images, at least 12 each.
        conv: The convolution to build with.
        width: A factor on the widths (6, 16, 120, 84), or four widths.
        activation: Replaces every ReLU: "relu", "leaky_relu", "prelu", "gelu" or "identity".

    Examples:
        >>> LeNet5(width=0.5).widths
        (3, 8, 60, 42)
    """

    BASE: ClassVar[tuple[int, ...]] = (6, 16, 120, 84)

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        activation: BlockActivation = "relu",
    ) -> None:
        super().__init__()
        active = BLOCK_ACTIVATIONS[activation]
        height, columns = _pooled(image_size, 2, "LeNet5")
        self.widths = resolve_widths(self.BASE, width)
        first, second, third, fourth = self.widths
        self.features = nn.Sequential(
            conv(in_channels, first, 5, padding=2),
            active(),
            nn.MaxPool2d(2),
            conv(first, second, 5),
            active(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * height * columns, third),
            active(),
            nn.Linear(third, fourth),
            active(),
            nn.Linear(fourth, num_classes),
        )


class CaffeLeNet(_LeNet):
    """The LeNet of Caffe's MNIST example: 431,080 parameters for 1×28×28 and ten classes.

    Convolution 5×5 to 20 maps, pooling, convolution 5×5 to 50, pooling, linear of 500, ReLU, linear. The convolutions
    are followed by no activation but max pooling. Source: Jia et al., *Caffe*, 2014, examples/mnist.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images, at least 16 each.
        conv: The convolution to build with.
        width: A factor on the widths (20, 50, 500), or three widths.
        activation: Replaces the ReLU: "relu", "leaky_relu", "prelu", "gelu" or "identity".

    Examples:
        >>> CaffeLeNet()(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    BASE: ClassVar[tuple[int, ...]] = (20, 50, 500)

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        activation: BlockActivation = "relu",
    ) -> None:
        super().__init__()
        active = BLOCK_ACTIVATIONS[activation]
        height, columns = _pooled(image_size, 0, "CaffeLeNet")
        self.widths = resolve_widths(self.BASE, width)
        first, second, hidden = self.widths
        self.features = nn.Sequential(
            conv(in_channels, first, 5), nn.MaxPool2d(2), conv(first, second, 5), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(second * height * columns, hidden), active(), nn.Linear(hidden, num_classes)
        )


class DropoutLeNet(_LeNet):
    """The MNIST network of the released code for adaptive convolutions: 133,816 parameters with ordinary layers.

    Convolution 5×5 to 6 maps (padding 2), pooling, ReLU, convolution 5×5 to 50, dropout of whole maps, pooling, ReLU,
    linear of 100, ReLU, dropout, linear. There only the first convolution is adaptive (`adaptive_in="first"` in
    `ImageClassifier`). Source: https://github.com/adapconv/adaptive-cnn, November 2018.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images, at least 12 each.
        conv: The convolution to build with.
        width: A factor on the widths (6, 50, 100), or three widths.
        activation: Replaces every ReLU: "relu", "leaky_relu", "prelu", "gelu" or "identity".
        dropout: Probability with which a map of the second convolution, or a feature of the hidden layer, is dropped.
    """

    BASE: ClassVar[tuple[int, ...]] = (6, 50, 100)

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        activation: BlockActivation = "relu",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        active = BLOCK_ACTIVATIONS[activation]
        height, columns = _pooled(image_size, 2, "DropoutLeNet")
        self.widths = resolve_widths(self.BASE, width)
        first, second, hidden = self.widths
        self.features = nn.Sequential(
            conv(in_channels, first, 5, padding=2),
            nn.MaxPool2d(2),
            active(),
            conv(first, second, 5),
            nn.Dropout2d(dropout),
            nn.MaxPool2d(2),
            active(),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * height * columns, hidden),
            active(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
