"""The adaptive convolution in plain PyTorch: its definition, and what every other kernel is tested against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.activation import Activation, activate
from lit_adaptconv.ops.geometry import Padding, Sides, Window, windows


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
    """Generate a kernel at every output pixel and apply it there; arguments as in `lit_adaptconv.functional`.

    The input is a batch `(N, C_in, H, W)`. float16 and bfloat16 are computed in float32 and rounded once, at the end.
    """
    if input.dtype in (torch.float16, torch.bfloat16):
        out = adaptive_conv2d(
            input.float(),
            generator_weight.float(),
            generator_bias.float(),
            None if bias is None else bias.float(),
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            kernel_activation,
        )
        return out.to(input.dtype)
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
    patches = F.unfold(
        F.pad(input, (*columns.kernel_pad, *rows.kernel_pad)), kernel_size, dilation=dilation, stride=stride
    ).view(input.shape[0], groups, group_in, 1, taps, rows.out, columns.out)
    out = (kernels * patches).sum(dim=(2, 4)).reshape(input.shape[0], out_channels, rows.out, columns.out)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def generate_kernels(
    input: Tensor,
    generator_weight: Tensor,
    generator_bias: Tensor,
    windows: tuple[Window, Window],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    kernel_activation: Activation,
) -> Tensor:
    """Generate the kernel of every output pixel.

    Returns:
        `(N, groups, C_in / groups, C_out / groups, kh * kw, H_out, W_out)`.
    """
    out_channels, group_in, taps, *generator_size = generator_weight.shape
    rows, columns = windows
    in_channels, group_out = group_in * groups, out_channels // groups
    # One filter per (input channel, output channel, tap), so the generator is a convolution with groups = C_in.
    filters = generator_weight.view(groups, group_out, group_in, taps, *generator_size).transpose(1, 2)
    filter_bias = generator_bias.view(groups, group_out, group_in, taps).transpose(1, 2)
    kernels = F.conv2d(
        F.pad(input, (*columns.generator_pad, *rows.generator_pad)),
        filters.reshape(in_channels * group_out * taps, 1, *generator_size),
        filter_bias.reshape(-1),
        stride=stride,
        dilation=dilation,
        groups=in_channels,
    )
    return activate(kernels, kernel_activation).view(
        input.shape[0], groups, group_in, group_out, taps, rows.out, columns.out
    )
