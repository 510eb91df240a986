"""The adaptive convolution as a function; the layers in `lit_adaptconv.layers` are thin shells over it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from lit_adaptconv.ops import convolutions, reference, schema
from lit_adaptconv.ops.activation import Activation
from lit_adaptconv.ops.choice import implementation
from lit_adaptconv.ops.geometry import Call, Padding, check_input, check_one_of, sides, two_ints


def adaptive_conv2d(
    input: Float[Tensor, "*batch in_channels height width"],
    generator_weight: Float[Tensor, "filters taps generator_height generator_width"],
    generator_bias: Float[Tensor, "out_channels group_channels taps"],
    bias: Float[Tensor, " out_channels"] | None = None,
    *,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    kernel_activation: Activation = "tanh",
) -> Float[Tensor, "*batch out_channels out_height out_width"]:
    r"""Convolve with a kernel that is computed, at every output pixel, from the image under it.

    For output channel `o`, a channel `c` of its group, output pixel `p`, kernel tap `t` and generator tap `s`:

        K[o,c,t](p) = act( generator_bias[o,c,t] + Σ_s generator_weight[o,c,t,s] · input[c](p + s) )
        out[o](p)   = bias[o] + Σ_c Σ_t K[o,c,t](p) · input[c](p + t)

    This is the full-rank form of Zamora Esquivel et al., *Adaptive Convolutional Kernels*, ICCV Workshops 2019.
    `stride`, `padding`, `dilation` and `groups` mean what they mean for `torch.nn.functional.conv2d`. The generator
    window moves with the stride, is dilated as the kernel is, and has the same centre (for even sizes, the pixel on
    which `padding="same"` centres it). What it sees beyond the input is zero.
    For other padding than zeros, pad the input and give `padding=0`, as `AdaptiveConv2d` does for its `padding_mode`.

    One fused operator computes float32, float64, float16 and bfloat16 on the CPU (Numba) and on CUDA (Triton). On
    other devices, with other types and without the compiler, plain PyTorch operators take its place, with a warning.
    They also do, without a warning, in exports to ONNX and if `LIT_ADAPTCONV_IMPLEMENTATION=reference` is set. The
    results are the same up to rounding.

    Args:
        input: `(N, C_in, H, W)`, or unbatched `(C_in, H, W)`.
        generator_weight: `(C_out * C_in // groups, kh * kw, qh, qw)`: for each output channel, and in it each channel
            of its group, a filter for each kernel tap, in row-major order.
        generator_bias: `(C_out, C_in // groups, kh * kw)`.
        bias: `(C_out,)` or None.
        kernel_size: `k` or `(kh, kw)`, in taps.
        stride: Step between output pixels, in input pixels.
        padding: Zeros on each side, in pixels, or "same" or "valid".
        dilation: Distance between taps, in pixels.
        groups: Number of channel groups; divides `C_in` and `C_out`.
        kernel_activation: What the generated kernel passes through: "tanh" or "identity".

    Returns:
        `(N, C_out, H_out, W_out)`, or `(C_out, H_out, W_out)` for unbatched input. Under autocast it has the
        autocast type, as a convolution's output has.

    Raises:
        ValueError: Shapes or arguments do not fit together, or the implementation that the environment demands cannot
            compute them.

    Examples:
        >>> weight, bias = torch.randn(8 * 3, 9, 3, 3), torch.randn(8, 3, 9)
        >>> adaptive_conv2d(torch.randn(2, 3, 32, 32), weight, bias, kernel_size=3, padding=1).shape
        torch.Size([2, 8, 32, 32])
    """
    check_one_of(kernel_activation, "kernel_activation", Activation)
    size, step, spread = (
        two_ints(kernel_size, "kernel_size"),
        two_ints(stride, "stride"),
        two_ints(dilation, "dilation"),
    )
    call = Call(size, step, sides(padding, size, step, spread), spread, groups, kernel_activation)
    return convolve(input, generator_weight, generator_bias, bias, call)


def convolve(
    input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, call: Call
) -> Tensor:
    """`adaptive_conv2d` with arguments that were checked before, which takes the host less time."""
    _check_shapes(input, generator_weight, generator_bias, bias, call.kernel_size, call.groups)
    device = input.device.type
    batch = input if input.dim() == 4 else input.unsqueeze(0)
    tensors: tuple[Tensor, Tensor, Tensor, Tensor | None] = (batch, generator_weight, generator_bias, bias)
    autocast = _autocasts(device)
    if autocast:
        tensors = schema.autocast(tensors, device)
    dtype = tensors[0].dtype
    for name, tensor in zip(("generator_weight", "generator_bias", "bias"), tensors[1:], strict=True):
        if tensor is not None and tensor.dtype != dtype:
            raise ValueError(f"{name} must have the input's type, {dtype}, got {tensor.dtype}")
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        if torch.onnx.is_in_onnx_export():  # which cannot hold a custom operator
            out = convolutions.forward(*tensors, call)
        elif implementation(device, dtype) == "reference":
            out = reference.forward(*tensors, call)
        else:
            out = schema.adaptive_conv2d(*tensors, *call)
    return out if input.dim() == 4 else out.squeeze(0)


def _autocasts(device: str) -> bool:
    """Whether autocast is on; TorchDynamo of torch 2.11 can't trace the question whether a device has it at all."""
    known = torch.compiler.is_compiling() or torch.amp.is_autocast_available(device)
    return device != "meta" and known and torch.is_autocast_enabled(device)


def _check_shapes(
    input: Tensor,
    generator_weight: Tensor,
    generator_bias: Tensor,
    bias: Tensor | None,
    kernel_size: tuple[int, int],
    groups: int,
) -> None:
    if generator_bias.dim() != 3:
        shape = "(out_channels, in_channels // groups, taps)"
        raise ValueError(f"generator_bias must be {shape}, got shape {tuple(generator_bias.shape)}")
    out_channels, group_in, taps = generator_bias.shape
    if groups < 1 or out_channels % groups:
        raise ValueError(f"groups must be positive and divide the {out_channels} output channels, got {groups}")
    check_input(input.shape, group_in * groups)
    if taps != kernel_size[0] * kernel_size[1]:
        raise ValueError(
            f"generator_bias makes {taps} taps, kernel_size {kernel_size} has {kernel_size[0] * kernel_size[1]}"
        )
    if generator_weight.dim() != 4 or generator_weight.shape[:2] != (out_channels * group_in, taps):
        shape = f"({out_channels * group_in}, {taps}, qh, qw)"
        raise ValueError(f"generator_weight must be {shape}, got {tuple(generator_weight.shape)}")
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"bias must be ({out_channels},), got {tuple(bias.shape)}")
