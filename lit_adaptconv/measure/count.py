"""Count what a network consists of and computes: parameters, bytes, and floating-point operations for one sample.

What counts as a FLOP is said here, and nowhere else:

- A multiply-add of a convolution or a matrix product counts two. Its bias, with which the sum begins, adds nothing.
- An activation function of any sort counts one for each element, tanh and softmax as ReLU, and so does every other
  elementwise operation, such as the addition of a residual branch.
- Normalisation counts two for each element, which it scales and shifts.
- Pooling, means and other sums count one for each element that they read.
- What only moves, compares or resizes numbers counts nothing, nor do the loss and the optimizer.

They are those of the algorithm, an image at a time: what an implementation computes twice, such as the kernels that a
fused backward pass generates again, counts once, and a fused layer counts what its plain form does.

A training step costs the forward pass and, of each operation, as much again for every operand that needs a gradient.
So a convolution costs three times its forward pass; twice where its input needs no gradient, as that of the first
layer, or where its weights are frozen; once where neither does. An activation costs twice. A parameter that several
layers share costs what each of them computes with it.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

TRAINING_FACTOR = 3
"""Forward passes that a training step costs where the input and all weights need gradients."""

_ELEMENTWISE = {
    "hardswish",
    "leaky_relu",
    "_prelu_kernel",
    "log_sigmoid_forward",
    "glu",
    "rrelu_with_noise",
    "_softmax",
    "_log_softmax",
}
"""Elementwise functions that PyTorch does not tag as such."""
_MOVES = {"clone", "where", "masked_fill", "copysign", "sign", "lift_fresh_copy"}
"""What it tags so and that computes nothing."""
_READS = {
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "prod",
    "var",
    "std",
    "var_mean",
    "linalg_vector_norm",
    "logsumexp",
}
_NORMALISES = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
_BEGIN_WITH_A_SUM = {"addmm", "addmv", "addbmm", "baddbmm", "addcmul", "addcdiv"}


def count_parameters(module: nn.Module) -> int:
    """Count the trainable parameters: weights, generators, biases, normalisation; a shared one counts once.

    A lazy module's, which have no shape before its first batch, are not counted.

    Examples:
        >>> count_parameters(nn.Conv2d(3, 8, kernel_size=3))
        224
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad and not is_lazy(p))


def count_bytes(module: nn.Module, dtype: torch.dtype | None = None) -> int:
    """Count the bytes of the weights, each once.

    They are what a state dict holds: all parameters, trained or frozen, and the buffers that are saved, such as the
    statistics of batch normalisation. What is lazy and has no shape yet is not counted, nor what a file holds beside
    the weights, such as its graph.

    Args:
        module: On any device, also "meta".
        dtype: Type of the floating-point numbers in the file; by default each has its own, as in a checkpoint.

    Examples:
        >>> count_bytes(nn.Linear(10, 2)), count_bytes(nn.Linear(10, 2), torch.float16)
        (88, 44)
    """
    held = module.state_dict(keep_vars=True).values()
    weights = {id(value): value for value in held if isinstance(value, Tensor) and not is_lazy(value)}
    return sum(
        value.numel() * (dtype if dtype and value.is_floating_point() else value.dtype).itemsize
        for value in weights.values()
    )


@dataclass(frozen=True)
class Flops:
    """FLOPs for one sample; the module `lit_adaptconv.measure.count` says what counts.

    Attributes:
        forward: Of a forward pass.
        training: Of a training step: forward, and backward to all that needs a gradient.

    Examples:
        >>> Flops(forward=40, training=80).training
        80
    """

    forward: int
    training: int


class FlopMeter:
    """Counts the FLOPs of what a module computes in the `with` block, as the module `lit_adaptconv.measure.count` says.

    PyTorch's operators are counted as they are called. A layer can say itself, in a method
    `extra_flops(output_shape) -> int` (shape without the batch), what it computes beside convolutions, matrix products
    and the modules in it; only these are then counted there. In training this costs as much again if a parameter of
    the layer, and once more if its input, needs a gradient.

    Training is counted if gradients are on in the block.

    Args:
        module: The network; it must be run on a batch of one.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = [layer for layer in module.modules() if hasattr(layer, "extra_flops")]
        self._within = {part: hasattr(part, "extra_flops") for layer in self._layers for part in layer.modules()}
        self._tally = _Tally()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def total(self) -> int:
        """FLOPs of the forward pass so far."""
        return self._tally.forward

    @property
    def training(self) -> int:
        """FLOPs of training so far."""
        return self._tally.training

    def __enter__(self) -> FlopMeter:
        for part in self._within:
            self._hooks.append(part.register_forward_pre_hook(self._begin))
            self._hooks.append(part.register_forward_hook(self._end))
        self._tally.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._tally.__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def _begin(self, part: nn.Module, args: Any) -> None:
        self._tally.said.append(self._within[part])

    def _end(self, part: nn.Module, args: Any, output: Tensor) -> None:
        self._tally.said.pop()
        if self._within[part]:
            needed = any(p.requires_grad for p in part.parameters()), any(_needs_gradient(a) for a in args)
            operands = sum(needed) if torch.is_grad_enabled() else 0
            self._tally.add(part.extra_flops(tuple(output.shape[1:])), operands)  # type: ignore[operator]


class _Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what PyTorch's operators compute.

    Attributes:
        forward: FLOPs of the forward pass.
        training: FLOPs of forward and backward pass.
        said: Whether the module that computes says itself what it does elementwise; for each of those around it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.forward = self.training = 0
        self.said: list[bool] = []

    def add(self, flops: int, operands: int) -> None:
        self.forward += flops
        self.training += flops * (1 + operands)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if formula := flop_registry.get(func._overloadpacket):
            self.add(int(formula(*args, **kwargs, out_val=out)), _operands(func, args))
        if not (self.said and self.said[-1]) and (flops := _other_flops(func, args, out)):
            self.add(flops, _operands(func, args))
        return out


def _other_flops(func: Any, args: tuple[Any, ...], out: Any) -> int:
    """FLOPs of what is neither a convolution nor a matrix product."""
    result = out[0] if isinstance(out, (tuple, list)) and out else out
    if not (isinstance(result, Tensor) and result.is_floating_point()):
        return 0
    name = func._opname.rstrip("_")
    if name == "adaptive_conv2d" and func.namespace == "lit_adaptconv":  # PyTorch's counter leaves out the activation
        return args[2][0].numel() * result.numel() if args[-1] != "identity" else 0
    if any(norm in name for norm in _NORMALISES):
        return 2 * result.numel()
    if "pool" in name:
        adaptive = "adaptive" in name or len(args) < 2
        return args[0].numel() if adaptive else _window(args[1], result.dim() - 2) * result.numel()
    if torch.Tag.pointwise in func.tags or name in _ELEMENTWISE:
        free = name in _MOVES or (name == "add" and any(_is_bias(a, result) for a in args[:2]))
        passes = 2 if name in _BEGIN_WITH_A_SUM else 0 if free else 1
        return passes * result.numel()
    return args[0].numel() if name in _READS else 0


def _is_bias(value: Any, result: Tensor) -> bool:
    """Whether it has one number for each channel, which all pixels share."""
    if not isinstance(value, Tensor) or value.dim() == 0 or value.numel() != max(value.shape):
        return False
    return value.numel() < result.numel() or value.dim() < result.dim()


def _window(size: Any, dimensions: int) -> int:
    sizes = [size] if isinstance(size, int) else list(size)
    return int(math.prod(sizes if len(sizes) > 1 else sizes * dimensions))


def _operands(func: Any, args: tuple[Any, ...]) -> int:
    """How many of an operator's two factors need a gradient; a custom operator is called with gradients off."""
    if not torch.is_grad_enabled() and func.namespace == "aten":
        return 0
    tensors = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
    first = 1 if func._opname.rstrip("_") in _BEGIN_WITH_A_SUM else 0
    return sum(t.requires_grad for t in tensors[first : first + 2])


def _needs_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def flops_of(module: nn.Module) -> Flops | None:
    """FLOPs for one sample, as the module says or as its example shows.

    Args:
        module: Any module. Its attributes `flops` and `training_flops` are taken (training counts three forward passes
            where it has but the first), else it is run on one sample of the shape of its `example_input_array`, as a
            LightningModule may have one.

    Returns:
        None where it has neither.
    """
    own, example = getattr(module, "flops", None), getattr(module, "example_input_array", None)
    if isinstance(own, int):
        training = getattr(module, "training_flops", None)
        return Flops(own, training if isinstance(training, int) else TRAINING_FACTOR * own)
    return count_flops(module, tuple(example.shape[1:])) if isinstance(example, Tensor) else None


def count_flops(module: nn.Module, input_shape: tuple[int, ...]) -> Flops:
    """Count the FLOPs for one sample, as the module `lit_adaptconv.measure.count` says.

    Args:
        module: The network, on any device (also "meta"). It is run once, in evaluation mode. In training, its
            parameters need gradients as they do now, and the sample does not.
        input_shape: Shape of one sample, `(C, H, W)`.

    Examples:
        >>> count_flops(nn.Linear(10, 2, bias=False), (10,))
        Flops(forward=40, training=80)
    """
    parameter = next(module.parameters(), torch.empty(0))
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(module), _uncompiled():
        sample = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
        with FlopMeter(module) as meter:
            module(sample)
    return Flops(meter.total, meter.training)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def _uncompiled() -> contextlib.AbstractContextManager[Any]:
    """What was compiled runs as it is written; the compiler is not imported for that."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def forward_flops(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Count the FLOPs of one forward pass of one sample; see `count_flops`.

    Examples:
        >>> forward_flops(nn.Linear(10, 2, bias=False), (10,))
        40
    """
    return count_flops(module, input_shape).forward
