"""Forward and backward of the adaptive convolution on GPU tensors."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from triton import cdiv

from lit_adaptconv.ops.geometry import Call
from lit_adaptconv.ops.gpu.forward_kernel import forward_kernel
from lit_adaptconv.ops.gpu.input_kernels import collect_kernel, spread_kernel
from lit_adaptconv.ops.gpu.sizes import Sizes, sizes_of, strides_of, wide
from lit_adaptconv.ops.gpu.tiles import COLLECT_BLOCK, SUM_BLOCK
from lit_adaptconv.ops.gpu.weight_kernel import weight_kernel

SCRATCH = 16 * 2**20  # bytes for the maps of the input's gradient, so that they stay in the cache of a large GPU
PROGRAMS = 1024  # that keep a GPU busy with the weights' gradients
TILES_EACH = 8  # that such a program adds at least, if there are as many: adding its threads takes as long as a few


def forward(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, call: Call) -> Tensor:
    """Generate and apply the kernels; bfloat16 and float16 are computed in float32 and rounded once."""
    sizes = sizes_of(input, generator_weight, call)
    out_channels, group_out = len(generator_bias), len(generator_bias) // call.groups
    out = input.new_empty((len(input), out_channels, sizes.out_height, sizes.out_width))
    if out.numel() == 0:
        return out
    x, weight = _rows(input), _parameter(generator_weight)

    def programs(tile: dict[str, Any]) -> tuple[int]:
        return (cdiv(sizes.pixels, tile["block"]) * call.groups * cdiv(group_out, tile["outputs"]),)

    with torch.cuda.device_of(x):
        options = {**_key(sizes, weight, call), **_types(weight, sizes, x), "biased": bias is not None}
        biases = (_parameter(generator_bias), weight if bias is None else _parameter(bias))
        forward_kernel[programs](x, weight, *biases, out, sizes, strides_of(x), **options)
    return out


def backward(
    grad_output: Tensor,
    input: Tensor,
    generator_weight: Tensor,
    generator_bias: Tensor,
    call: Call,
    needs_input: bool,
    needs_weights: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `forward`: of input, generator weight, generator bias and bias.

    The kernels are generated again from the input. What is not needed is empty.
    """
    dtype = input.dtype
    grad, x = _rows(grad_output), _rows(input)
    weight, bias = _parameter(generator_weight), _parameter(generator_bias)
    dx = torch.zeros(input.shape if needs_input else (0,), dtype=dtype, device=input.device)
    d_weight, d_bias = (t.new_zeros(t.shape if needs_weights else (0,)) for t in (weight, bias))
    if grad.numel():
        with torch.cuda.device_of(x):
            if needs_input:
                _input_gradient(grad, x, weight, bias, call, dx)
            if needs_weights:
                d_weight, d_bias = _weight_gradients(grad, x, weight, bias, call)
    return dx, d_weight.to(dtype), d_bias.to(dtype), grad_output.sum((0, 2, 3), dtype=weight.dtype).to(dtype)


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, call: Call, dx: Tensor) -> None:
    """Fill `dx`, some images or, where one image's maps exceed `SCRATCH`, some channels at a time."""
    maps = weight.shape[1] + weight[0, 0].numel()
    images, channels = len(x), x.shape[1]
    planes = max(1, SCRATCH // (maps * grad.shape[2] * grad.shape[3] * weight.itemsize))
    together, some = max(1, min(images, planes // channels)), min(channels, planes)
    scratch = x.new_empty(maps * some * together * grad.shape[2] * grad.shape[3], dtype=weight.dtype)
    for first in range(0, images, together):
        part = slice(first, first + together)
        for channel in range(0, channels, some):
            out = dx[part, channel : channel + some]
            _fill(grad[part], x[part], weight, bias, call, out, channel, scratch)


def _fill(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, call: Call, out: Tensor, first: int, scratch: Tensor
) -> None:
    """Fill the input's gradient for some images and channels, from channel `first` on."""
    sizes, channels = sizes_of(x, weight, call), out.shape[1]
    pixels, step = len(out) * sizes.height * sizes.width, channels * sizes.pixels
    types = _types(weight, sizes, x, grad)
    options = {**_key(sizes, weight, call), **types}
    spread_kernel[lambda tile: (cdiv(sizes.pixels, tile["block"]) * channels,)](
        grad, x, weight, bias, scratch, step, first, channels, sizes, strides_of(grad), strides_of(x), **options
    )
    options = {**_windows(weight, call), **types, "block": COLLECT_BLOCK}
    collect_kernel[(cdiv(pixels, COLLECT_BLOCK) * channels,)](
        scratch, out, step, channels, pixels, sizes, strides_of(out), **options
    )


def _weight_gradients(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, call: Call) -> tuple[Tensor, Tensor]:
    """Sum over parts of the pixels, whose number depends on the shapes alone, and then over the parts."""
    sizes, filters = sizes_of(x, weight, call), len(weight)
    tiles = cdiv(sizes.pixels, SUM_BLOCK)
    each = cdiv(tiles, max(1, min(PROGRAMS // filters, tiles // TILES_EACH)))
    parts = cdiv(tiles, each)
    weight_parts, bias_parts = weight.new_empty((parts, *weight.shape)), bias.new_empty((parts, *bias.shape))
    taps = weight.shape[1]
    options = {**_key(sizes, weight, call), **_types(weight, sizes, x, grad), "block": SUM_BLOCK}
    weight_kernel[lambda tile: (parts * filters * cdiv(taps, tile["taps_at_once"]),)](
        grad, x, weight, bias, weight_parts, bias_parts, each, sizes, strides_of(grad), strides_of(x), **options
    )
    return weight_parts.sum(0), bias_parts.sum(0)


def _rows(tensor: Tensor) -> Tensor:
    """The same images with neighbouring pixels of a row in neighbouring memory: a copy only if they are not."""
    return tensor if tensor.stride(3) == 1 else tensor.contiguous()


def _parameter(tensor: Tensor) -> Tensor:
    """A parameter in the type that is computed in, float32 or float64."""
    return tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32).contiguous()


def _windows(weight: Tensor, call: Call) -> dict[str, int]:
    return {
        "kernel_height": call.kernel_size[0],
        "kernel_width": call.kernel_size[1],
        "window_height": weight.shape[2],
        "window_width": weight.shape[3],
    }


def _key(sizes: Sizes, weight: Tensor, call: Call) -> dict[str, int | bool]:
    """The arguments in `tiles.KEY`."""
    return {
        "magnitude": sizes.pixels.bit_length(),
        "group_out": len(weight) // (call.groups * sizes.group_in),
        "applies_tanh": call.kernel_activation == "tanh",
        **_windows(weight, call),
    }


def _types(weight: Tensor, sizes: Sizes, *images: Tensor) -> dict[str, tl.dtype]:
    """The types that are computed in: numbers and indices of pixels."""
    return {
        "real": tl.float64 if weight.dtype == torch.float64 else tl.float32,
        "index": tl.int64 if wide(sizes, *images) else tl.int32,
    }
