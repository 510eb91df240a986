"""Forward and backward of the adaptive convolution on CPU tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_adaptconv.ops.cpu.compiled import compiled
from lit_adaptconv.ops.cpu.layout import BLOCK, SAFE, TASKS, lay_out
from lit_adaptconv.ops.cpu.threads import run_tasks
from lit_adaptconv.ops.geometry import Call
from lit_adaptconv.ops.precision import wide_type

Array = NDArray[np.floating]


def forward(input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, call: Call) -> Tensor:
    """Generate and apply the kernels; bfloat16 and float16 are computed in float32 and rounded once."""
    layout, kernel_at, window_at = lay_out(input.shape, len(generator_bias), generator_weight.shape[2:], call)
    out = input.new_empty((layout.images, layout.out_channels, layout.out_height, layout.out_width))
    if out.numel() == 0:
        return out
    dtype = wide_type(input.dtype)
    loops = compiled()
    x, strides = _memory(input, dtype)
    wide = out.to(dtype)
    segments = -(-layout.images // layout.together) * layout.bands
    groups = layout.out_channels // layout.group_out
    # A task pads its input channels once for all its output channels: whole groups, unless there are too few.
    outputs = layout.group_out if segments * groups >= TASKS else 1
    arguments = (
        outputs,
        x,
        strides,
        _pack(_matrices(generator_weight, dtype)),
        _flat(generator_bias, dtype),
        np.zeros(layout.out_channels, x.dtype) if bias is None else _flat(bias, dtype),
        kernel_at,
        window_at,
        layout,
        wide.view(-1).numpy(),
    )
    run_tasks(segments * (layout.out_channels // outputs), lambda first, last: loops.forward(first, last, *arguments))
    return out if wide is out else out.copy_(wide)


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
    layout, kernel_at, window_at = lay_out(input.shape, len(generator_bias), generator_weight.shape[2:], call)
    dtype = wide_type(input.dtype)
    loops = compiled()
    # A part of the batch sums its own weight gradients; the parts are then added in their order.
    blocks = -(-layout.images // layout.together)
    parts = max(1, min(blocks, -(-TASKS // layout.in_channels))) if grad_output.numel() else 0
    # The parts zero what they add to, each its own: memory is slow to touch for the first time.
    dx = (torch.empty if parts else torch.zeros)(input.shape if needs_input else (0,), dtype=dtype)
    kernels = layout.out_channels * layout.group_in
    dweight = np.zeros((parts, kernels * layout.taps * layout.window if needs_weights else 0), _numpy(dtype))
    dbias = np.zeros((parts, kernels * layout.taps if needs_weights else 0), _numpy(dtype))
    dout_bias = np.zeros((parts, layout.out_channels), np.float64)
    if parts:
        weight = _matrices(generator_weight, dtype)
        arguments = (
            parts,
            (needs_input, needs_weights),
            *_memory(input, dtype),
            *_memory(grad_output, dtype),
            _pack(weight),
            _pack(weight.transpose(1, 2)),
            _flat(generator_bias, dtype),
            not (_is_safe(weight) and _is_safe(generator_bias)),
            kernel_at,
            window_at,
            layout,
            dx.view(-1).numpy(),
            dweight.reshape(-1),
            dbias.reshape(-1),
            dout_bias.reshape(-1),
        )
        run_tasks(parts * layout.in_channels, lambda first, last: loops.backward(first, last, *arguments))
    shapes = (generator_weight.shape, generator_bias.shape) if needs_weights else ((0,), (0,))
    totals = (_total(part, shape, input.dtype) for part, shape in zip((dweight, dbias), shapes, strict=True))
    return (dx.to(input.dtype), *totals, torch.from_numpy(dout_bias.sum(0)).to(input.dtype))  # type: ignore[return-value]


def _numpy(dtype: torch.dtype) -> type[np.floating]:
    return np.float64 if dtype == torch.float64 else np.float32


def _flat(tensor: Tensor, dtype: torch.dtype) -> Array:
    flat: Array = tensor.to(dtype).reshape(-1).numpy()
    return flat


def _matrices(generator_weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The weights in float32 or float64, a (taps, window pixels) matrix for each output and input channel."""
    return generator_weight.to(dtype).flatten(2)


def _is_safe(weight: Tensor) -> bool:
    return bool((weight.abs() <= SAFE).all())


def _memory(tensor: Tensor, dtype: torch.dtype) -> tuple[Array, tuple[int, ...]]:
    """Return the elements that a tensor may touch, in order of address, and its strides: no copy in any layout."""
    tensor = tensor.to(dtype)
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((span,), (1,)).numpy(), tensor.stride()


def _pack(weight: Tensor) -> Array:
    """Lay (n, rows, columns) out as the loops read it: each block of three rows column by column, then what is left."""
    blocked = weight.shape[1] - weight.shape[1] % BLOCK
    blocks = weight[:, :blocked].unflatten(1, (-1, BLOCK)).transpose(2, 3)
    packed: Array = torch.cat((blocks.flatten(1), weight[:, blocked:].flatten(1)), dim=1).view(-1).numpy()
    return packed


def _total(parts: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Add the parts in their order."""
    return torch.from_numpy(np.add.reduce(parts, axis=0)).to(dtype).view(shape)
