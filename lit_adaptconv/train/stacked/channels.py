"""Operations on channels for all members at once, whose channels stand beside each other as a convolution leaves them.

`torch.vmap` itself brings the members to the front for pooling, normalisation and products, and back for the next
convolution, which copies every image twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.schema import front

POOLS: tuple[Callable[..., Any], ...] = (F.max_pool2d, F.avg_pool2d)
"""Functions of images that treat each channel alike."""


class _OfChannels(torch.autograd.Function):
    """Calls a function of images, `(N, C, …)`, and of what it is given for each channel, `(C,)` or None."""

    @staticmethod
    def forward(function: Callable[..., Tensor], images: Tensor, *of_channels: Tensor | None) -> Tensor:
        """Call it for one member."""
        return function(images, *of_channels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing: autograd sees what `vmap` does."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], function: Callable[..., Tensor], images: Tensor, *rest: Tensor | None
    ) -> tuple[Tensor, int]:
        """Call it once, for all members."""
        members = info.batch_size
        flat = [
            None if each is None else front(each, dim, members).flatten(0, 1)
            for each, dim in zip(rest, in_dims[2:], strict=True)
        ]
        out = function(_beside(images, in_dims[1], members).flatten(1, 2), *flat)
        return torch.unflatten(out, 1, (members, -1)), 1


class _PixelProduct(torch.autograd.Function):
    """A convolution of single pixels, `(N, C, H, W)` by `(C_out, C)`, as products of matrices."""

    @staticmethod
    def forward(images: Tensor, weight: Tensor) -> Tensor:
        """Multiply for one member."""
        return torch.unflatten(torch.matmul(weight, images.flatten(2)), 2, images.shape[2:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing: autograd sees what `vmap` does."""

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], images: Tensor, weight: Tensor) -> tuple[Tensor, int]:
        """Multiply for all members, in the order in which their images lie in memory."""
        images = _beside(images, in_dims[0], info.batch_size)
        weight = front(weight, in_dims[1], info.batch_size)
        matrices = weight.expand(len(images), *weight.shape).flatten(0, 1)
        out = torch.bmm(matrices, images.flatten(0, 1).flatten(2))
        return out.view(*images.shape[:2], -1, *images.shape[3:]), 1


def pooled(function: Callable[..., Any], /, input: Tensor, *args: Any, **options: Any) -> Any:
    """One of `POOLS`."""
    if input.dim() != 4 or options.get("return_indices"):
        return function(input, *args, **options)
    return _OfChannels.apply(lambda images: function(images, *args, **options), input)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`."""

    def function(
        images: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        return F.batch_norm(images, mean, var, weight, bias, training, momentum, eps)

    out: Tensor = _OfChannels.apply(function, input, running_mean, running_var, weight, bias)
    return out


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **options: Any) -> Tensor:
    """`torch.nn.functional.conv2d`; of single pixels it is a product, which is faster than a convolution of groups.

    The output has the images' type under autocast too, where `torch.vmap` adds the bias in its own.
    """
    out: Tensor
    if input.dim() != 4 or weight.shape[2:] != (1, 1) or not _is_plain(*args, **options):
        out = F.conv2d(input, weight, None, *args, **options)
    else:
        out = _PixelProduct.apply(input, weight.flatten(1))
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


def _is_plain(stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> bool:
    ones = all(value in (1, (1, 1), [1, 1]) for value in (stride, dilation))
    return ones and padding in (0, (0, 0), [0, 0]) and groups == 1


def _beside(images: Tensor, dim: int | None, members: int) -> Tensor:
    """Images with the members before their channels: `(N, M, C, …)`."""
    if dim is None:
        return images.unsqueeze(1).expand(-1, members, *images.shape[1:])
    return images.movedim(dim, 1)
