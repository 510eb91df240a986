"""The adaptive convolution as convolutions and one product: the form in which it is exported.

Runtimes have no `unfold`, and their sums over two dimensions are slow; convolutions are what they are made for. Under
onnxruntime this takes half the time of the exported reference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.activation import Activation
from lit_adaptconv.ops.geometry import Padding, Sides, windows
from lit_adaptconv.ops.reference import generate_kernels


def adaptive_conv2d(
    input: Tensor,
    generator_weight: Tensor,
    generator_bias: Tensor,
    bias: Tensor | None,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding | Sides,
    dilation: tuple[int, int],
    groups: int,
    kernel_activation: Activation,
) -> Tensor:
    """Generate a kernel at every output pixel and apply it there, as `lit_adaptconv.ops.reference` does."""
    out_channels, group_in, taps, *generator_size = generator_weight.shape
    rows, columns = windows(
        (input.shape[-2], input.shape[-1]),
        kernel_size,
        (generator_size[0], generator_size[1]),
        stride,
        padding,
        dilation,
    )
    kernels = generate_kernels(
        input, generator_weight, generator_bias, (rows, columns), stride, dilation, groups, kernel_activation
    )
    # A kernel that is 1 at one tap copies the pixel there; one for each tap of each channel copies all patches.
    copies = torch.eye(taps, dtype=input.dtype, device=input.device).view(taps, 1, *kernel_size)
    patches = F.conv2d(
        F.pad(input, (*columns.kernel_pad, *rows.kernel_pad)),
        copies.repeat(input.shape[1], 1, 1, 1),
        stride=stride,
        dilation=dilation,
        groups=input.shape[1],
    ).view(input.shape[0], groups, group_in, 1, taps, rows.out, columns.out)
    products = (kernels * patches).transpose(2, 3).flatten(1, 4)
    add = torch.ones(out_channels, group_in * taps, 1, 1, dtype=input.dtype, device=input.device)
    return F.conv2d(products, add, bias, groups=out_channels)
