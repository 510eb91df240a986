"""The custom operator `lit_adaptconv::adaptive_conv2d`, its backward operator, and what PyTorch asks of both.

An operator is one opaque call to autograd, `torch.compile` and `torch.export`, which know its shapes. The device of its
tensors decides what computes it: Numba on CPUs, Triton on GPUs, the reference elsewhere. Its first derivatives are
computed by the backward operator, fused likewise; those of the backward operator, for double backward, by
differentiating the reference implementation. Under `vmap` the mapped dimension joins the batch or the groups.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from lit_adaptconv.ops import reference
from lit_adaptconv.ops.choice import fused
from lit_adaptconv.ops.geometry import Call, Sides

LIBRARY = torch.library.Library("lit_adaptconv", "DEF")
_CALL = "int[] kernel_size, int[] stride, int[] padding, int[] dilation, int groups, str kernel_activation"
LIBRARY.define(
    f"adaptive_conv2d(Tensor input, Tensor generator_weight, Tensor generator_bias, Tensor? bias, {_CALL}) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
LIBRARY.define(
    "adaptive_conv2d_backward(Tensor grad_output, Tensor input, Tensor generator_weight, Tensor generator_bias, "
    f"{_CALL}, bool needs_input, bool needs_weights) -> (Tensor, Tensor, Tensor, Tensor)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
FORWARD = torch.ops.lit_adaptconv.adaptive_conv2d.default
BACKWARD = torch.ops.lit_adaptconv.adaptive_conv2d_backward.default


def _plain_keys(device: str) -> set[int]:
    """The dispatch keys of an ordinary tensor, and of one that inference mode made."""
    keys = torch._C.DispatchKey

    def together(*names: str) -> int:
        sets = [torch._C.DispatchKeySet(getattr(keys, name)) for name in names]
        return functools.reduce(lambda one, other: one | other, sets).raw_repr()

    always = (device, f"Autocast{device}")
    return {together(*always), together(*always, "ADInplaceOrView", f"Autograd{device}")}


PLAIN_KEYS = _plain_keys("CPU") | _plain_keys("CUDA")
Ints = Sequence[int]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def as_call(kernel_size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int, activation: Any) -> Call:
    """The operator's arguments after its tensors, in the form that the implementations take."""
    if isinstance(kernel_size, tuple):  # PyTorch's dispatcher has not made lists of them
        return Call(kernel_size, stride, padding, dilation, groups, activation)  # type: ignore[arg-type]
    sides: Sides = (padding[0], padding[1], padding[2], padding[3])
    size, step, spread = ((values[0], values[1]) for values in (kernel_size, stride, dilation))
    return Call(size, step, sides, spread, groups, activation)


def _passes(tensor: Tensor) -> Any:
    """Return the module with the passes `forward` and `backward`; its compiler is imported when first needed."""
    return _module(fused(tensor.device.type, tensor.dtype))


@functools.cache
def _module(implementation: str) -> Any:
    return importlib.import_module(f"lit_adaptconv.ops.{implementation}")


def _forward(
    input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, *call: Any
) -> Tensor:
    out: Tensor = _passes(input).forward(input, generator_weight, generator_bias, bias, as_call(*call))
    return out


def _forward_to_train(
    ctx: Any, input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, *call: Any
) -> Tensor:
    """The same; where the backward pass must be compiled first, that begins before the forward pass."""
    needed = ctx.needs_input_grad
    expected = [(needed[0], needed[1] or needed[2])] if any(needed[:4]) and _on_gpu(input) else []
    out: Tensor = _passes(input).forward(input, generator_weight, generator_bias, bias, as_call(*call), *expected)
    return out


def _backward(
    grad_output: Tensor, input: Tensor, generator_weight: Tensor, generator_bias: Tensor, *rest: Any
) -> Gradients:
    *call, needs_input, needs_weights = rest
    gradients: Gradients = _passes(input).backward(
        grad_output, input, generator_weight, generator_bias, as_call(*call), needs_input, needs_weights
    )
    return gradients


def _fake_forward(
    input: Tensor, generator_weight: Tensor, generator_bias: Tensor, bias: Tensor | None, *call: Any
) -> Tensor:
    rows, columns = as_call(*call).windows(input.shape[2:], generator_weight.shape[-2:])
    shape = (input.shape[0], generator_bias.shape[0], rows.out, columns.out)
    # On a GPU the output is laid out as the input is, on a CPU row by row.
    layout = memory_format(input) if _on_gpu(input) else torch.contiguous_format
    return torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=layout)


def _fake_backward(
    grad_output: Tensor, input: Tensor, generator_weight: Tensor, generator_bias: Tensor, *rest: Any
) -> Gradients:
    needs_input, needs_weights = rest[-2:]
    like_input = torch.empty_like(input) if _on_gpu(input) else input.new_empty(input.shape)
    return (
        like_input if needs_input else input.new_empty(0),
        input.new_empty(generator_weight.shape if needs_weights else (0,)),
        input.new_empty(generator_bias.shape if needs_weights else (0,)),
        input.new_empty(generator_bias.shape[:1]),
    )


def memory_format(tensor: Tensor) -> torch.memory_format:
    """Channels last where the tensor can be nothing else."""
    last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _on_gpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, generator_weight, generator_bias, _, *ctx.call = inputs
    ctx.save_for_backward(input, generator_weight, generator_bias)


def _differentiate_forward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    needs_input, needs_bias = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
    needs_weights = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
    tensors = (grad_output, *ctx.saved_tensors)
    if fused(grad_output.device.type, grad_output.dtype) == "reference":
        grads = _reference_backward(as_call(*ctx.call))(*tensors)
    else:
        grads = _adaptive_conv2d_backward(*tensors, *ctx.call, needs_input, needs_weights)
    needed = (needs_input, needs_weights, needs_weights, needs_bias)
    return (*(grad if need else None for grad, need in zip(grads, needed, strict=True)), *(None for _ in ctx.call))


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Gradients) -> None:
    ctx.save_for_backward(*inputs[:4])
    *ctx.call, ctx.needs_input, ctx.needs_weights = inputs[4:]


def _reference_backward(call: Call) -> Callable[..., Gradients]:
    """The backward operator in plain PyTorch, for what cannot be fused and for its own derivatives."""

    def convolve(input: Tensor, generator_weight: Tensor, generator_bias: Tensor) -> Tensor:
        return reference.forward(input, generator_weight, generator_bias, None, call)

    def backward(grad_output: Tensor, *inputs: Tensor) -> Gradients:
        pull_back = torch.func.vjp(convolve, *inputs)[1]
        return (*pull_back(grad_output), grad_output.sum((0, 2, 3)))

    return backward


def _differentiate_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    needed = (ctx.needs_input, ctx.needs_weights, ctx.needs_weights, True)
    outputs, pull_back = torch.func.vjp(_reference_backward(as_call(*ctx.call)), *ctx.saved_tensors)[:2]
    cotangents = (
        grad if need else torch.zeros_like(output) for grad, need, output in zip(grads, needed, outputs, strict=True)
    )
    return (*pull_back(tuple(cotangents)), *(None for _ in ctx.call), None, None)


def _map_forward(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    *tensors, bias = args[:4]
    input, generator_weight, generator_bias = (
        front(t, dim, info.batch_size) for t, dim in zip(tensors, dims[:3], strict=True)
    )
    if all(dim is None for dim in dims[1:4]):
        out = adaptive_conv2d(input.flatten(0, 1), args[1], args[2], *args[3:])
        return out.unflatten(0, (info.batch_size, -1)), 0
    out = adaptive_conv2d(
        input.transpose(0, 1).flatten(1, 2),
        generator_weight.flatten(0, 1),
        generator_bias.flatten(0, 1),
        None if bias is None else front(bias, dims[3], info.batch_size).flatten(0, 1),
        *_grouped(args[4:], info.batch_size),
    )
    return out.unflatten(1, (info.batch_size, -1)), 1


def _map_backward(info: Any, dims: tuple[Any, ...], *args: Any) -> tuple[Gradients, tuple[int | None, ...]]:
    grad_output, input, generator_weight, generator_bias = (
        front(t, dim, info.batch_size) for t, dim in zip(args[:4], dims[:4], strict=True)
    )
    needs_input, needs_weights = args[-2:]
    grads = _adaptive_conv2d_backward(
        grad_output.transpose(0, 1).flatten(1, 2),
        input.transpose(0, 1).flatten(1, 2),
        generator_weight.flatten(0, 1),
        generator_bias.flatten(0, 1),
        *_grouped(args[4:], info.batch_size),
    )
    mapped = (1 if needs_input else None, *(0 if needs_weights else None for _ in range(2)), 0)
    return tuple(
        grad if dim is None else grad.unflatten(dim, (info.batch_size, -1))
        for grad, dim in zip(grads, mapped, strict=True)
    ), mapped  # type: ignore[return-value]


def front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """A tensor with the mapped dimension, of so many elements, first."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _grouped(call: tuple[Any, ...], size: int) -> tuple[Any, ...]:
    """The same call with `size` times the groups."""
    return (*call[:4], call[4] * size, *call[5:])


def _register(
    operator: Any,
    devices: Any,
    compute: Any,
    fake: Any,
    save: Any,
    differentiate: Any,
    map: Any,
    compute_to_train: Any = None,
) -> Any:
    """Tell PyTorch all about an operator, and return what calls it, also under the transforms of `torch.func`.

    They cannot see through an operator; they need a Function of autograd with its parts apart. Elsewhere one whose
    `forward` does all is called, since PyTorch looks up the signature of the other at each call, which takes longer
    than a small kernel. So does the way through PyTorch's dispatcher: where nobody listens there, it is not taken.
    There `compute_to_train` takes the place of `compute` where derivatives may follow; it gets the context first.
    """

    def forward(*args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*args)

    def without_context(run: Callable[..., Any]) -> Callable[..., Any]:
        return lambda ctx, *args: run(*args)

    def function(forward: Callable[..., Any], **rules: Callable[..., Any]) -> Any:
        parts = {name: staticmethod(rule) for name, rule in rules.items()}
        return type(operator._opname, (torch.autograd.Function,), {"forward": staticmethod(forward), **parts})

    def saving(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_and_save(ctx: Any, *args: Any) -> Any:
            output = run(ctx, *args)
            save(ctx, args, output)
            return output

        return run_and_save

    whole = function(saving(without_context(forward)), backward=differentiate)
    direct = function(saving(compute_to_train or without_context(compute)), backward=differentiate)
    apart = function(forward, setup_context=save, backward=differentiate, vmap=map)
    torch.library.register_kernel(operator, devices, compute, lib=LIBRARY)
    torch.library.register_fake(operator, fake, lib=LIBRARY)
    torch.library.register_vmap(operator, map, lib=LIBRARY)
    LIBRARY.impl(operator._opname, whole.apply, "Autograd")

    def dispatch(*args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            return apart.apply(*args)
        if torch.compiler.is_compiling() or not _unobserved(args):
            return operator(*args)
        return direct.apply(*args) if torch.is_grad_enabled() else compute(*args)

    return dispatch


def _unobserved(args: tuple[Any, ...]) -> bool:
    """Whether a call has plain tensors on a CPU or GPU, and no mode, tracer or profiler wants to see it."""
    if (
        torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._get_tracing_state()
        or torch._C._autograd._profiler_enabled()
        or forward_ad._current_level >= 0
    ):
        return False
    input, one, other, last = args[:4]  # the last is the bias, which may be missing, or the fourth of backward
    return _is_plain(input) and _is_plain(one) and _is_plain(other) and (last is None or _is_plain(last))


def _is_plain(tensor: Tensor) -> bool:
    """Whether its memory holds its numbers, and nothing is to be done before they are read.

    Subclasses say so by their type; views with a pending sign, batches under transforms and the like by their keys.
    """
    return type(tensor) in _ORDINARY and torch._C._dispatch_keys(tensor).raw_repr() in PLAIN_KEYS


_ORDINARY = (torch.nn.Parameter, Tensor)


adaptive_conv2d = _register(  # on any device
    FORWARD, None, _forward, _fake_forward, _save_forward, _differentiate_forward, _map_forward, _forward_to_train
)
_adaptive_conv2d_backward = _register(
    BACKWARD, ("cpu", "cuda"), _backward, _fake_backward, _save_backward, _differentiate_backward, _map_backward
)


def autocast(tensors: tuple[Tensor | None, ...], device: str) -> Any:
    """Cast tensors as autocast casts a convolution's: float64 stays."""
    dtype = torch.get_autocast_dtype(device)

    def cast(t: Tensor | None) -> Tensor | None:
        return t if t is None or not t.is_floating_point() or t.dtype == torch.float64 else t.to(dtype)

    return tuple(map(cast, tensors))


def _under_autocast(device: str) -> Callable[..., Tensor]:
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device.upper()}"))

    def forward(*args: Any) -> Tensor:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            out: Tensor = FORWARD(*autocast(args[:4], device), *args[4:])
        return out

    return forward


for _device in ("cpu", "cuda"):
    LIBRARY.impl("adaptive_conv2d", _under_autocast(_device), f"Autocast{_device.upper()}")


def _macs(input_shape: torch.Size, weight_shape: torch.Size, out_shape: torch.Size) -> int:
    """Multiply-adds of the generator and of the application."""
    filters, taps, height, width = weight_shape
    return out_shape[0] * out_shape[2] * out_shape[3] * filters * taps * (height * width + 1)


@register_flop_formula(torch.ops.lit_adaptconv.adaptive_conv2d)  # type: ignore[untyped-decorator]
def _forward_flops(input: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * _macs(input, weight, out_shape)


@register_flop_formula(torch.ops.lit_adaptconv.adaptive_conv2d_backward)  # type: ignore[untyped-decorator]
def _backward_flops(grad_output: Any, input: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Two products for each of forward, as for any convolution; generating the kernels again is not counted."""
    needs_input, needs_weights = args[-2:]
    return 2 * _macs(input, weight, grad_output) * (int(needs_input) + int(needs_weights))
