"""The adaptive convolution in plain PyTorch: its definition, and what every other implementation is tested against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.activation import activate
from lit_adaptconv.ops.geometry import Call


def forward(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, call: Call) -> Tensor:
    """Generate a kernel at every output pixel and apply it there; tensors as in `lit_adaptconv.functional`.

    The input is a batch `(N, C_in, H, W)`. float16 and bfloat16 are computed in float32 and rounded once, at the end.
    """
    if input.dtype in (torch.float16, torch.bfloat16):
        wide_bias = None if bias is None else bias.float()
        out = forward(input.float(), generator_weight.float(), generator_bias.float(), wide_bias, call)
        return out.to(input.dtype)
    out_channels, group_in, taps = generator_bias.shape
    around = call.windows(input.shape[2:], generator_weight.shape[-2:])
    kernels = generate_kernels(input, generator_weight, generator_bias, call)
    patches = F.unfold(
        F.pad(input, around.kernel_pad), call.kernel_size, dilation=call.dilation, stride=call.stride
    ).view(input.shape[0], call.groups, group_in, 1, taps, *kernels.shape[-2:])
    out = (kernels * patches).sum(dim=(2, 4)).reshape(input.shape[0], out_channels, *kernels.shape[-2:])
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def generate_kernels(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, call: Call) -> Tensor:
    """Generate the kernel of every output pixel.

    Returns:
        `(N, groups, C_in / groups, C_out / groups, kh * kw, H_out, W_out)`.
    """
    out_channels, group_in, taps = generator_bias.shape
    kernels = generate_channels(input, generator_weight, generator_bias, call)
    pixels = kernels.shape[-2:]
    return kernels.view(input.shape[0], call.groups, group_in, out_channels // call.groups, taps, *pixels)


def generate_channels(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, call: Call) -> Tensor:
    """`generate_kernels`, all but the pixels in the channels: `(N, C_in * C_out / groups * kh * kw, H_out, W_out)`."""
    out_channels, group_in, taps = generator_bias.shape
    generator_size = generator_weight.shape[-2:]
    by_group = (call.groups, out_channels // call.groups, group_in, taps)
    # One filter per (input channel, output channel, tap), so the generator is a convolution with groups = C_in.
    kernels = F.conv2d(
        F.pad(input, call.windows(input.shape[2:], generator_size).generator_pad),
        generator_weight.reshape(*by_group, *generator_size).transpose(1, 2).reshape(-1, 1, *generator_size),
        generator_bias.reshape(by_group).transpose(1, 2).reshape(-1),
        stride=call.stride,
        dilation=call.dilation,
        groups=input.shape[1],
    )
    return activate(kernels, call.kernel_activation)
