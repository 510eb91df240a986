"""ThriftyNet: one convolution, used at every step of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.models.backbones.activations import BLOCK_ACTIVATIONS, BlockActivation
from lit_adaptconv.models.backbones.base import Backbone, Width, resolve_widths


class ThriftyNet(Backbone):
    """A single convolution, applied at every step; only normalisation and shortcuts differ between steps.

        x[t+1] = pool( norm[t]( mix[t][0] · activation(conv(x[t])) + Σ_i mix[t][i] · x[t+1-i] ) )

    for i from 1 to `history`, as far back as there is an x. x[0] is the image, filled up with channels of zeros to the
    network's width (or cut to it). Where a step pools, all earlier x are pooled too. At the end come global max pooling
    and one linear layer. For f channels, T steps and a k×k convolution it has
    `f * f * k * k + 2 * f * T + (f + 1) * num_classes` parameters, and one for each term of a sum. The convolution's
    parameters count once, and its FLOPs at every step. With kind "separable" it shares one separable layer.

    A mixture starts as half the convolution and half the step before; in the authors' code it starts as 0.1 and 0.9,
    which takes longer to learn.

    Source: Coiffier, Boukli Hacene, Gripon, *ThriftyNets: Convolutional Neural Networks with Tiny Parameter Budget*,
    IoT 2 (2), 2021, https://arxiv.org/abs/2007.10106.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        image_size: Height and width of the images; every pooling halves them.
        conv: The convolution to build with.
        width: A factor on the number of channels (64), or that number.
        steps: How often the convolution is applied.
        history: How many earlier x each step adds.
        pool_after: Steps, counted from 0, that are followed by 2×2 max pooling.
        kernel_size: Size of the kernel.
        activation: After the convolution: "relu", "leaky_relu", "prelu", "gelu" or "identity".

    Raises:
        UserError: No step, no history, a kernel that is even, a pooling after a step that does not exist, or images
            that are too small.

    Examples:
        >>> ThriftyNet(width=0.25)(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    BASE: ClassVar[tuple[int, ...]] = (64,)

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: tuple[int, int] = (28, 28),
        conv: Conv = nn.Conv2d,
        width: Width = 1.0,
        *,
        steps: int = 10,
        history: int = 4,
        pool_after: Sequence[int] = (1, 4, 7),
        kernel_size: int = 3,
        activation: BlockActivation = "relu",
    ) -> None:
        super().__init__()
        for name, value in (("steps", steps), ("history", history), ("kernel_size", kernel_size)):
            if value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if kernel_size % 2 == 0:
            raise UserError(f"kernel_size must be odd, so that images keep their size, got {kernel_size}")
        self.pool_after = frozenset(pool_after)
        if any(not 0 <= step < steps for step in self.pool_after):
            raise UserError(f"pool_after must name steps from 0 to {steps - 1}, got {list(pool_after)}")
        if min(image_size) >> len(self.pool_after) < 1:
            raise UserError(
                f"images of {image_size[0]}×{image_size[1]} are too small for {len(self.pool_after)} poolings"
            )
        self.widths = resolve_widths(self.BASE, width)
        (channels,) = self.widths
        self.added_channels = channels - in_channels
        self.history = history
        self.conv = conv(channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.activation = BLOCK_ACTIVATIONS[activation]()
        self.mixes = nn.ParameterList(
            torch.tensor([0.5, 0.5, *(0.0 for _ in range(min(step, history - 1)))]) for step in range(steps)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(steps))
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(N, C, H, W)` to logits `(N, num_classes)`."""
        past = [F.pad(images, (0, 0, 0, 0, 0, self.added_channels))]
        for step, (mix, norm) in enumerate(zip(self.mixes, self.norms, strict=True)):
            mixed = mix[0] * self.activation(self.conv(past[0]))
            for share, before in zip(mix[1:], past, strict=True):
                mixed = mixed + share * before
            past = [norm(mixed), *past[: self.history - 1]]
            if step in self.pool_after:
                past = [F.max_pool2d(before, 2) for before in past]
        logits: Tensor = self.head(past[0].amax((2, 3)))
        return logits
