"""A small plain network: convolution blocks with BatchNorm, global pooling, one linear layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BLOCK_ACTIVATIONS, BlockActivation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths


class ConvNet(Backbone):
    """Blocks of convolution, optional 2×2 max pooling, BatchNorm and activation; global pooling; one linear layer.

    Pooling comes right after the convolution, because BatchNorm and activation then cost a quarter, and a training step
    takes about half the time. The convolutions have no bias, because BatchNorm has one. With adaptive layers, which are
    themselves nonlinear, `activation="identity"` may do better than ReLU.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images; every pooling halves them.
        conv: The convolution to build with.
        width: A factor on `channels`, or as many widths.
        channels: Output channels of each block.
        pool_after: Blocks, counted from 0, that are followed by pooling.
        kernel_size: Size of the kernels.
        padding: "same" keeps the image size in a block; "valid" lets it shrink.
        activation: After BatchNorm: "relu", "leaky_relu", "prelu", "gelu" or "identity".
        standard_first: Whether the first block keeps an ordinary convolution.
        channels_last: Whether the channels of a pixel are neighbours in memory, not the pixels of a channel. The result
            is the same; on a CPU most kinds then train faster, separable layers twice as fast.

    Raises:
        UserError: No channels, no kernel, a pooling after a block that does not exist, or images that are too small.

    Examples:
        >>> from lit_adaptconv.layers.kinds import conv_kind
        >>> ConvNet(3, 10, (32, 32), conv_kind("adaptive_low_rank"))(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        channels: Sequence[int] = (6, 8, 8),
        pool_after: Sequence[int] = (0, 1),
        kernel_size: int = 3,
        padding: Literal["same", "valid"] = "same",
        activation: BlockActivation = "relu",
        standard_first: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise UserError(f"channels must be one or more positive integers, got {list(channels)}")
        if kernel_size < 1:
            raise UserError(f"kernel_size must be at least 1, got {kernel_size}")
        self.widths = resolve_widths(channels, width)
        self.channels_last = channels_last
        if any(not 0 <= block < len(channels) for block in pool_after):
            raise UserError(f"pool_after must name blocks from 0 to {len(channels) - 1}, got {list(pool_after)}")
        side, before, blocks = min(image_size), in_channels, []
        for index, after in enumerate(self.widths):
            layer = nn.Conv2d if standard_first and index == 0 else conv
            side -= kernel_size - 1 if padding == "valid" else 0
            block = OrderedDict[str, nn.Module](
                conv=layer(before, after, kernel_size, padding=padding, bias=False),
            )
            if index in pool_after:
                block["pool"] = nn.MaxPool2d(2)
                side //= 2
            block["norm"] = nn.BatchNorm2d(after)
            block["activation"] = BLOCK_ACTIVATIONS[activation]()
            if side < 1:
                raise UserError(
                    f"images of {image_size[0]}×{image_size[1]} are too small: block {index} has no pixel left"
                )
            blocks.append(nn.Sequential(block))
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        if self.channels_last:
            images = images.to(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.pool(self.blocks(images)).flatten(1))
        return logits
