"""The adaptive convolution as convolutions and one product: the form in which it is exported.

Runtimes have no `unfold`, and their sums over two dimensions are slow; convolutions are what they are made for. Under
onnxruntime this takes half the time of the exported reference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.geometry import Call
from lit_adaptconv.ops.reference import generate_kernels


def forward(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, call: Call) -> Tensor:
    """Generate a kernel at every output pixel and apply it there, as `lit_adaptconv.ops.reference` does."""
    out_channels, group_in, taps = generator_bias.shape
    kernels = generate_kernels(input, generator_weight, generator_bias, call)
    # A kernel that is 1 at one tap copies the pixel there; one for each tap of each channel copies all patches.
    copies = torch.eye(taps, dtype=input.dtype, device=input.device).view(taps, 1, *call.kernel_size)
    patches = F.conv2d(
        F.pad(input, call.windows(input.shape[2:], generator_weight.shape[-2:]).kernel_pad),
        copies.repeat(input.shape[1], 1, 1, 1),
        stride=call.stride,
        dilation=call.dilation,
        groups=input.shape[1],
    ).view(input.shape[0], call.groups, group_in, 1, taps, *kernels.shape[-2:])
    products = (kernels * patches).transpose(2, 3).flatten(1, 4)
    add = torch.ones(out_channels, group_in * taps, 1, 1, dtype=input.dtype, device=input.device)
    return F.conv2d(products, add, bias, groups=out_channels)
