"""The operator `lit_adaptconv::gated_sum`: filtered images, each multiplied by its gate, summed over the rank.

    out = bias + Σ_r act(gate_r + gate_bias_r) · values_r

Where Triton computes, it is one kernel forward and, with the sums for the biases, two backward. It keeps what the
convolutions gave and nothing else: the gates are computed again. Elsewhere it is plain PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lit_adaptconv.ops.activation import GateActivation, activate
from lit_adaptconv.ops.choice import fuses_on_gpu
from lit_adaptconv.ops.schema import LIBRARY, _register, front, memory_format

LIBRARY.define(
    "gated_sum(Tensor filtered, Tensor values, Tensor gate_bias, Tensor? bias, int groups, str activation) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.define(
    "gated_sum_backward(Tensor grad_output, Tensor filtered, Tensor values, Tensor gate_bias, int groups, "
    "str activation, bool needs_biases) -> (Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
FORWARD = torch.ops.lit_adaptconv.gated_sum.default
BACKWARD = torch.ops.lit_adaptconv.gated_sum_backward.default

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def gated_sum(
    filtered: Tensor,
    values: Tensor | None,
    gate_bias: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: GateActivation,
) -> Tensor:
    """Multiply values by their gates and sum over the rank.

    Channels are ordered by group, then rank. The output has their memory format. float16 and bfloat16 are
    rounded once where Triton computes.

    Args:
        filtered: The gates before their bias, `(N, rank * gates, H, W)`; in front of the values of the same group, if
            `values` is None, `(N, rank * (gates + C_out), H, W)`.
        values: `(N, rank * C_out, H, W)` or None.
        gate_bias: `(rank, gates)`: a gate for each output channel or, shared, for each group.
        bias: `(C_out,)` or None.
        groups: Number of channel groups.
        activation: What the gates pass through.

    Returns:
        `(N, C_out, H, W)`.
    """
    if fuses_on_gpu(filtered.device.type, filtered.dtype) and not torch.onnx.is_in_onnx_export():
        apart = filtered.new_empty(0) if values is None else values
        out: Tensor = _gated_sum(filtered, apart, gate_bias, bias, groups, activation)
        return out
    return plain(filtered, values, gate_bias, bias, groups, activation)


def plain(
    filtered: Tensor,
    values: Tensor | None,
    gate_bias: Tensor,
    bias: Tensor | None,
    groups: int,
    activation: GateActivation,
) -> Tensor:
    """`gated_sum` in plain PyTorch."""
    gate, values = _apart(filtered, values, gate_bias, groups, activation)
    if len(gate_bias) > 1 or gate.shape != values.shape:  # a group may share its gate
        gate, values = _by_rank(gate, values, groups, len(gate_bias))
        out = (gate * values).sum(2).flatten(1, 2)
    else:
        out = gate * values
    return out if bias is None else out + bias[:, None, None].to(out.dtype)


def _apart(
    filtered: Tensor, values: Tensor | None, gate_bias: Tensor, groups: int, activation: GateActivation
) -> tuple[Tensor, Tensor]:
    """The activated gates and the values."""
    rank, gates = gate_bias.shape
    if values is None:
        count = rank * gates // groups
        if groups == 1:  # slices: ExecuTorch refuses a split whose parts it can't all give to XNNPACK
            filtered, values = filtered[:, :count], filtered[:, count:]
        else:
            by_group = filtered.unflatten(1, (groups, -1))
            filtered, values = by_group[:, :, :count].flatten(1, 2), by_group[:, :, count:].flatten(1, 2)
    shift = torch.unflatten(gate_bias, 1, (groups, -1)).transpose(0, 1).flatten()[:, None, None]
    return activate(filtered + shift.to(filtered.dtype), activation), values


def _by_rank(gate: Tensor, values: Tensor, groups: int, rank: int) -> tuple[Tensor, Tensor]:
    """`(N, groups, rank, of this group and rank, H, W)`."""
    shape = (groups, rank, -1)
    return torch.unflatten(gate, 1, shape), torch.unflatten(values, 1, shape)


def out_channels(filtered: Tensor, values: Tensor, gate_bias: Tensor) -> int:
    """Channels of the output."""
    return (values.shape[1] if values.dim() == 4 else filtered.shape[1] - gate_bias.numel()) // gate_bias.shape[0]


def _plain(filtered: Tensor, values: Tensor, *rest: Any) -> Tensor:
    """`plain`, with an empty tensor for values that are not apart."""
    return plain(filtered, values if values.dim() == 4 else None, *rest)


def _plain_backward(
    grad_output: Tensor, filtered: Tensor, values: Tensor, gate_bias: Tensor, groups: int, activation: Any
) -> Gradients:
    """The gradients of `_plain` in plain PyTorch, to be differentiated themselves."""
    stacked = values.dim() != 4
    apart = _apart(filtered, None if stacked else values, gate_bias, groups, activation)
    gate, factors = _by_rank(*apart, groups, len(gate_bias))
    grad = grad_output.unflatten(1, (groups, 1, -1))
    d_values, d_gate = grad * gate, grad * factors
    if activation != "identity":
        d_gate = d_gate * (1 - gate * gate if activation == "tanh" else gate * (1 - gate))
    if gate.shape[3] < factors.shape[3]:
        d_gate = d_gate.sum(3, keepdim=True)
    sums = d_gate.sum((0, 4, 5)).transpose(0, 1).flatten(1), grad_output.sum((0, 2, 3))
    if stacked:
        parts = torch.cat([d_gate.flatten(2, 3), d_values.flatten(2, 3)], 2).flatten(1, 2), torch.zeros_like(values)
    else:
        parts = d_gate.flatten(1, 3), d_values.flatten(1, 3)
    return *parts, *(total.to(gate_bias.dtype) for total in sums)  # type: ignore[return-value]


def _on_gpu(tensor: Tensor) -> bool:
    """Whether Triton computes: an exported program may run elsewhere than where it was made."""
    return fuses_on_gpu(tensor.device.type, tensor.dtype)


def _forward(filtered: Tensor, values: Tensor, gate_bias: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    if _on_gpu(filtered):
        from lit_adaptconv.ops.gpu import gated_sum as fused

        return fused.forward(filtered, values, gate_bias, bias, *how)
    out = _plain(filtered, values, gate_bias, bias, *how)
    return out.contiguous(memory_format=memory_format(values if values.dim() == 4 else filtered))


def _backward(
    grad_output: Tensor,
    filtered: Tensor,
    values: Tensor,
    gate_bias: Tensor,
    groups: int,
    activation: Any,
    needs_biases: bool,
) -> Gradients:
    if _on_gpu(filtered):
        from lit_adaptconv.ops.gpu import gated_sum as fused

        return fused.backward(grad_output, filtered, values, gate_bias, groups, activation, needs_biases)
    grads = _plain_backward(grad_output, filtered, values, gate_bias, groups, activation)
    like = _fake_backward(grad_output, filtered, values, gate_bias, groups, activation, needs_biases)
    return tuple(to.copy_(grad) if to.shape == grad.shape else to for to, grad in zip(like, grads, strict=True))  # type: ignore[return-value]


def _fake_forward(filtered: Tensor, values: Tensor, gate_bias: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    shape = (filtered.shape[0], out_channels(filtered, values, gate_bias), *filtered.shape[2:])
    memory = memory_format(values if values.dim() == 4 else filtered)
    return torch.empty(shape, dtype=filtered.dtype, device=filtered.device, memory_format=memory)


def _fake_backward(
    grad_output: Tensor, filtered: Tensor, values: Tensor, gate_bias: Tensor, *how: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    needs_biases = how[-1]
    return (
        torch.empty_like(filtered),
        torch.empty_like(values),
        gate_bias.new_empty(gate_bias.shape if needs_biases else (0,)),
        gate_bias.new_empty(grad_output.shape[1] if needs_biases else (0,)),
    )


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    filtered, values, gate_bias, _, *ctx.how = inputs
    ctx.save_for_backward(filtered, values, gate_bias)


def _differentiate_forward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad[:4]
    grads = _gated_sum_backward(grad_output, *ctx.saved_tensors, *ctx.how, needed[2] or needed[3])
    return (*(grad if need else None for grad, need in zip(grads, needed, strict=True)), None, None)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    ctx.save_for_backward(*inputs[:4])
    *ctx.how, ctx.needs_biases = inputs[4:]


def _differentiate_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    needed = (True, True, ctx.needs_biases, ctx.needs_biases)
    outputs, pull_back = torch.func.vjp(lambda *t: _plain_backward(*t, *ctx.how), *ctx.saved_tensors)[:2]
    cotangents = (
        grad if need else torch.zeros_like(output) for grad, need, output in zip(grads, needed, outputs, strict=True)
    )
    return (*pull_back(tuple(cotangents)), None, None, None)


def _map_forward(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    """Join the mapped dimension to the batch or, where parameters have it, to the groups."""
    filtered, values, gate_bias, bias, groups, activation = args
    of_images, of_parameters = dims[:2], dims[2:4]
    size = info.batch_size
    stacked = values.dim() - (of_images[1] is not None) != 4  # an empty tensor, which may look mapped
    if of_parameters == (None, None):
        filtered = front(filtered, of_images[0], size).flatten(0, 1)
        values = filtered.new_empty(0) if stacked else front(values, of_images[1], size).flatten(0, 1)
        out = _gated_sum(filtered, values, gate_bias, bias, groups, activation)
        return torch.unflatten(out, 0, (size, -1)), 0
    filtered = front(filtered, of_images[0], size).transpose(0, 1).flatten(1, 2)
    values = filtered.new_empty(0) if stacked else front(values, of_images[1], size).transpose(0, 1).flatten(1, 2)
    gate_bias = front(gate_bias, of_parameters[0], size).transpose(0, 1).flatten(1, 2)
    if bias is not None:
        bias = front(bias, of_parameters[1], size).flatten(0, 1)
    out = _gated_sum(filtered, values, gate_bias, bias, groups * size, activation)
    return torch.unflatten(out, 1, (size, -1)), 1


def _map_backward(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    needs_biases = args[-1]
    grads: tuple[Tensor, ...] = torch.func.vmap(_plain_backward, dims[:-1])(*args[:-1])
    if not needs_biases:
        grads = (*grads[:2], *(grad.new_empty(0) for grad in grads[2:]))
    return grads, (0, 0, *(0 if needs_biases else None for _ in range(2)))


_gated_sum = _register(FORWARD, None, _forward, _fake_forward, _save_forward, _differentiate_forward, _map_forward)
_gated_sum_backward = _register(
    BACKWARD, None, _backward, _fake_backward, _save_backward, _differentiate_backward, _map_backward
)
