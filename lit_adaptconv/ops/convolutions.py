"""The adaptive convolution as convolutions and one product: the form in which it is exported.

Runtimes have no `unfold`, and their sums over two dimensions are slow; convolutions are what they are made for. Under
onnxruntime this takes half the time of the exported reference.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.geometry import Call
from lit_adaptconv.ops.reference import generate_channels


def forward(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, call: Call) -> Tensor:
    """Generate a kernel at every output pixel and apply it there, as `lit_adaptconv.ops.reference` does."""
    out_channels, group_in, taps = generator_bias.shape
    kernels = generate_channels(input, generator_weight, generator_bias, call)
    padded = F.pad(input, call.windows(input.shape[2:], generator_weight.shape[-2:]).kernel_pad)
    patches = copy_patches(padded, call.kernel_size, call.stride, call.dilation)
    shape = (input.shape[0], call.groups, group_in, -1, taps, math.prod(kernels.shape[-2:]))  # runtimes stop at 6
    products = kernels.reshape(shape) * patches.reshape(shape)
    products = products.transpose(2, 3).reshape(input.shape[0], -1, *kernels.shape[-2:])
    add = torch.ones(out_channels, group_in * taps, 1, 1, dtype=input.dtype, device=input.device)
    return F.conv2d(products, add, bias, groups=out_channels)


def copy_patches(
    input: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """What `F.unfold` does, by a convolution: `(N, C, H, W)` to `(N, C * kh * kw, H_out, W_out)`."""
    # A kernel that is 1 at one tap copies the pixel there; one for each tap of each channel copies all patches.
    channels, taps = input.shape[1], kernel_size[0] * kernel_size[1]
    copies = torch.eye(taps, dtype=input.dtype, device=input.device).view(taps, 1, *kernel_size)
    weight = copies.repeat(channels, 1, 1, 1)
    return F.conv2d(input, weight, stride=stride, dilation=dilation, groups=channels)
