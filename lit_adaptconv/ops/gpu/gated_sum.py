"""Forward and backward of `gated_sum` on GPU tensors, planned once for each shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor
from triton import cdiv, next_power_of_2

from lit_adaptconv.ops.activation import GateActivation
from lit_adaptconv.ops.gpu.gated_kernels import add_rows_kernel, gated_sum_backward_kernel, gated_sum_kernel
from lit_adaptconv.ops.gpu.launch import Launch, device_of
from lit_adaptconv.ops.gpu.sizes import FARTHEST
from lit_adaptconv.ops.gpu.tanh import how
from lit_adaptconv.ops.precision import wide_type
from lit_adaptconv.ops.schema import memory_format

TILE = 2048  # elements of a tile: 16 a thread, two reads of 16 bytes in half precision
CHANNELS_LAST_BLOCK, CHANNELS_FIRST_BLOCK = 128, 8  # channels of a tile, at most
PROGRAMS = 1056  # of backward, about: eight for each of a large GPU's multiprocessors
ADD_ROWS, ADD_COLUMNS = 256, 8
WARPS = 4

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


class Images(NamedTuple):
    """How images lie in memory whose rows follow each other at one distance."""

    image: int
    channel: int
    pixel: int


class Form(NamedTuple):
    """What kernels are compiled for: all but pixels and strides."""

    channels: int
    rank: int
    groups: int
    gates: int
    stacked: bool


def forward(
    filtered: Tensor,
    values: Tensor,
    gate_bias: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: GateActivation,
) -> Tensor:
    """Compute `gated_sum`; `values` is empty where `filtered` holds both."""
    stacked = values.dim() != 4
    filtered = _dense(filtered)
    values = filtered if stacked else _dense(values)
    plan = _plan_forward(
        filtered.shape, filtered.stride(), values.shape, values.stride(), gate_bias.shape, groups, stacked, activation,
        filtered.dtype, gate_bias.dtype, None if bias is None else bias.dtype, filtered.device,
    )  # fmt: skip
    with device_of(filtered):
        return plan(filtered, values, gate_bias.contiguous(), None if bias is None else bias.contiguous())


def backward(
    grad_output: Tensor,
    filtered: Tensor,
    values: Tensor,
    gate_bias: Tensor,
    groups: int,
    activation: GateActivation,
    needs_biases: bool,
) -> Gradients:
    """Return the gradients of `filtered`, `values`, `gate_bias` and bias; what is not needed is empty."""
    stacked = values.dim() != 4
    dense = _dense(filtered), values if stacked else _dense(values)
    if _pixel_stride(grad_output.shape, grad_output.stride()) is None:
        grad_output = grad_output.contiguous()
    plan = _plan_backward(
        grad_output.stride(), dense[0].shape, dense[0].stride(), dense[1].shape, dense[1].stride(),
        gate_bias.shape, groups, stacked, activation, grad_output.dtype, filtered.dtype, gate_bias.dtype,
        filtered.device, needs_biases,
    )  # fmt: skip
    with device_of(filtered):
        d_filtered, d_values, *sums = plan(grad_output, *dense, gate_bias.contiguous())
    if dense[0] is not filtered:
        d_filtered = torch.empty_like(filtered).copy_(d_filtered)
    if dense[1] is not values:
        d_values = torch.empty_like(values).copy_(d_values)
    return d_filtered, d_values, *sums  # type: ignore[return-value]


def _pixel_stride(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """Distance between an image's pixels in order of rows, if it is the same everywhere."""
    if shape[3] == 1:
        return strides[2]
    return strides[3] if shape[2] == 1 or strides[2] == shape[3] * strides[3] else None


def _dense(tensor: Tensor) -> Tensor:
    """The tensor or, where its memory has holes or another order than a convolution's output, a copy of it."""
    orders = (torch.contiguous_format, torch.channels_last)
    return tensor if any(tensor.is_contiguous(memory_format=order) for order in orders) else tensor.contiguous()


def _images(shape: Sequence[int], strides: Sequence[int]) -> Images:
    return Images(strides[0], strides[1], _pixel_stride(shape, strides) or 0)


def _form(
    shape: Sequence[int], values_shape: Sequence[int], bias_shape: Sequence[int], groups: int, stacked: bool
) -> Form:
    rank, gates = bias_shape
    channels = (shape[1] - rank * gates if stacked else values_shape[1]) // rank
    return Form(channels, rank, groups, gates // groups, stacked)


def _options(form: Form, activation: str, dtype: torch.dtype, farthest: int) -> dict[str, Any]:
    return {
        **form._asdict(),
        "activation": activation,
        "how": how(dtype in (torch.float16, torch.bfloat16)),
        "real": tl.float64 if dtype == torch.float64 else tl.float32,
        "index": tl.int64 if farthest > FARTHEST else tl.int32,
        "num_warps": WARPS,
    }


def _tile(channels: int, images: Images) -> dict[str, int]:
    """Pixels and channels of a tile: long where memory runs on."""
    most = CHANNELS_LAST_BLOCK if images.channel == 1 != images.pixel else CHANNELS_FIRST_BLOCK
    block = min(next_power_of_2(channels), most)
    return {"block_pixels": TILE // block, "block_channels": block}


def _extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Farthest offset in a tensor, or the number of its pixels."""
    return max(
        sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)), shape[0] * shape[2] * shape[3]
    )


@lru_cache(maxsize=1024)
def _plan_forward(
    shape: Sequence[int],
    strides: Sequence[int],
    values_shape: Sequence[int],
    values_strides: Sequence[int],
    bias_shape: Sequence[int],
    groups: int,
    stacked: bool,
    activation: str,
    dtype: torch.dtype,
    bias_dtype: torch.dtype,
    out_bias_dtype: torch.dtype | None,
    device: torch.device,
) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
    """Plan a forward pass; Triton compiles for the types of all tensors, so that each has its own plan."""
    form = _form(shape, values_shape, bias_shape, groups, stacked)
    out_shape = (shape[0], form.channels, *shape[2:])
    memory = memory_format(torch.empty_strided(tuple(values_shape), tuple(values_strides), device="meta"))
    out_strides = torch.empty(out_shape, device="meta", memory_format=memory).stride()
    area = shape[2] * shape[3]
    pixels = shape[0] * area

    def new_output() -> Tensor:
        return torch.empty(out_shape, dtype=dtype, device=device, memory_format=memory)

    if pixels == 0:
        return lambda *tensors: new_output()
    gates, values, out = _images(shape, strides), _images(values_shape, values_strides), _images(out_shape, out_strides)
    tile = _tile(form.channels, out)
    farthest = max(_extent(shape, strides), _extent(values_shape, values_strides), _extent(out_shape, out_strides))
    launch = Launch(
        gated_sum_kernel,
        cdiv(pixels, tile["block_pixels"]) * cdiv(form.channels, tile["block_channels"]),
        (pixels, area, *gates, *values, *out),
        {**_options(form, activation, dtype, farthest), "biased": out_bias_dtype is not None, **tile},
    )

    def run(filtered: Tensor, values: Tensor, gate_bias: Tensor, bias: Tensor | None) -> Tensor:
        out = new_output()
        launch(filtered, values, gate_bias, gate_bias if bias is None else bias, out)
        return out

    return run


@lru_cache(maxsize=1024)
def _plan_backward(
    grad_strides: Sequence[int],
    shape: Sequence[int],
    strides: Sequence[int],
    values_shape: Sequence[int],
    values_strides: Sequence[int],
    bias_shape: Sequence[int],
    groups: int,
    stacked: bool,
    activation: str,
    grad_dtype: torch.dtype,
    dtype: torch.dtype,
    bias_dtype: torch.dtype,
    device: torch.device,
    needs_biases: bool,
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Gradients]:
    """Plan a backward pass: one kernel for the images' gradients, one for the sums over pixels."""
    form = _form(shape, values_shape, bias_shape, groups, stacked)
    area = shape[2] * shape[3]
    pixels = shape[0] * area
    out_shape = (shape[0], form.channels, *shape[2:])
    columns = form.rank * groups * form.gates + form.channels

    def biases(gate_bias: Tensor, make: Any) -> tuple[Tensor, Tensor]:
        return make(gate_bias, bias_shape if needs_biases else (0,)), make(
            gate_bias, (form.channels,) if needs_biases else (0,)
        )

    if pixels == 0:

        def nothing(grad: Tensor, filtered: Tensor, values: Tensor, gate_bias: Tensor) -> Gradients:
            return torch.empty_like(filtered), torch.empty_like(values), *biases(gate_bias, Tensor.new_zeros)

        return nothing
    if stacked:
        values_shape, values_strides = shape, strides
    gates, values, grads = (
        _images(shape, strides),
        _images(values_shape, values_strides),
        _images(out_shape, grad_strides),
    )
    each = form.channels // groups
    if form.gates < each:
        block = next_power_of_2(each)
        tile, tiles = {"block_pixels": max(1, TILE // block), "block_channels": block}, groups
    else:
        tile = _tile(form.channels, values)
        tiles = cdiv(form.channels, tile["block_channels"])
    count = cdiv(pixels, tile["block_pixels"])
    tiles_each = cdiv(count, max(1, min(count, PROGRAMS // (tiles * form.rank))))
    rows = cdiv(count, tiles_each)
    farthest = max(_extent(shape, strides), _extent(values_shape, values_strides), _extent(out_shape, grad_strides))
    options = _options(form, activation, dtype, farthest)
    launch = Launch(
        gated_sum_backward_kernel,
        rows * tiles * form.rank,
        (pixels, area, tiles_each, *grads, *gates, *values),
        {**options, "summed": needs_biases, **tile},
    )
    add = Launch(
        add_rows_kernel,
        cdiv(columns, ADD_COLUMNS),
        (rows,),
        {
            "gates": columns - form.channels,
            "columns": columns,
            "real": options["real"],
            "block_rows": min(ADD_ROWS, next_power_of_2(rows)),
            "block_columns": ADD_COLUMNS,
            "num_warps": WARPS,
        },
    )
    exact = wide_type(dtype)

    def run(grad: Tensor, filtered: Tensor, values: Tensor, gate_bias: Tensor) -> Gradients:
        d_filtered, d_values = torch.empty_like(filtered), torch.empty_like(values)
        parts = filtered.new_empty((rows, columns) if needs_biases else (0,), dtype=exact)
        of_values, to_values = (filtered, d_filtered) if stacked else (values, d_values)
        launch(grad, filtered, of_values, gate_bias, d_filtered, to_values, parts)
        sums = biases(gate_bias, Tensor.new_empty)
        if needs_biases:
            add(parts, *sums)
        return d_filtered, d_values, *sums

    return run
