"""A convolution in which every sample of the batch has its own kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.ops.convolutions import copy_patches
from lit_adaptconv.ops.geometry import Padding, windows


def mix_kernels(weights: Tensor, stack: Tensor) -> Tensor:
    """Mix E kernels, a stack `(E * C_out, ...)`, by weights `(N, E)` into one for every sample, `(N, C_out, ...)`."""
    kernels = torch.unflatten(stack, 0, (weights.shape[1], -1))
    return torch.unflatten(weights @ kernels.flatten(1).to(weights.dtype), 1, kernels.shape[1:])


def gate_kernels(kernels: Tensor, filters: Tensor, channels: Tensor, taps: Tensor, groups: int) -> Tensor:
    """Scale each sample's kernel by a number for each of its filters, input channels and taps.

    Args:
        kernels: `(N, C_out, C_in // groups, kh, kw)`, or `(1, ...)` where all samples have the same.
        filters: `(N, C_out)`.
        channels: `(N, C_in)`.
        taps: `(N, kh * kw)`, in row-major order.
        groups: Channel groups within a sample.

    Returns:
        `(N, C_out, C_in // groups, kh, kw)`.
    """
    by_group = torch.unflatten(kernels, 1, (groups, -1))
    _, _, group_out, group_in, height, width = by_group.shape
    by_group = by_group * filters.view(-1, groups, group_out, 1, 1, 1)
    by_group = by_group * channels.view(-1, groups, 1, group_in, 1, 1)
    return (by_group * taps.view(-1, 1, 1, 1, height, width)).flatten(1, 2)


def per_sample_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """Convolve sample n of `input` with kernel n of `weight`.

    The samples become the groups of one grouped convolution: as fast as one kernel shared by the batch, where patches
    and a batched matrix product take 1.5 to 7 times as long on a CPU. An exported program fixes a convolution's number
    of groups, so there, where the batch may have any size, patches are multiplied.

    Args:
        input: `(N, C_in, H, W)`.
        weight: `(N, C_out, C_in // groups, kh, kw)`.
        bias: One for each sample, `(N, C_out)`, or one for all, `(C_out,)`, or None.
        stride: As in `torch.nn.functional.conv2d`, and so are the others.
        padding: Zeros on each side, or "same" or "valid".
        dilation: Distance between taps.
        groups: Channel groups within a sample.

    Returns:
        `(N, C_out, H_out, W_out)`.

    Raises:
        ValueError: The input is smaller than the kernel.
    """
    samples, out_channels = weight.shape[:2]
    kernel_size = (weight.shape[3], weight.shape[4])
    around = windows(input.shape[2:], kernel_size, kernel_size, stride, padding, dilation)
    if samples == 0:  # a convolution has at least one group; the sum of no kernels keeps the graph whole
        shared = bias.sum(0) if bias is not None and bias.dim() == 2 else bias
        return F.conv2d(input, weight.sum(0), shared, stride, padding, dilation, groups)
    if torch.compiler.is_exporting():
        patches = copy_patches(F.pad(input, around.kernel_pad), kernel_size, stride, dilation)
        patches = patches.reshape(samples, groups, weight[0, 0].numel(), -1)
        out = weight.reshape(samples, groups, out_channels // groups, -1) @ patches
        out = out.reshape(samples, out_channels, around.rows.out, around.columns.out)
        return out if bias is None else out + bias.expand(samples, out_channels)[:, :, None, None]
    out = F.conv2d(
        input.reshape(1, -1, *input.shape[2:]),
        weight.flatten(0, 1),
        None if bias is None else bias.expand(samples, out_channels).reshape(-1),
        stride,
        padding,
        dilation,
        samples * groups,
    )
    return out.view(samples, out_channels, *out.shape[2:])
