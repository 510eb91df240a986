"""What is measured: layers by name, and the shape at which they run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
import yaml
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.ops.choice import VARIABLE, Implementation

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Shape:
    """A layer's arguments and its input.

    Attributes:
        batch_size: Images.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        image_size: Height and width of the input, in pixels.
        kernel_size: Height and width of the kernel, in taps.
        stride: Step between output pixels.
        padding: Zeros on each side (above and below, left and right).
        dilation: Distance between taps.
        groups: Channel groups.
        dtype: Name of the type of input and parameters.
        device: Where everything lies.
        compile: Whether `torch.compile` compiles the layers.
    """

    batch_size: int
    in_channels: int
    out_channels: int
    image_size: tuple[int, int]
    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    compile: bool = False

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (self.batch_size, self.in_channels, *self.image_size)

    def input(self) -> Tensor:
        """A standard normal input that requires its gradient, as a hidden layer's does."""
        values = torch.randn(self.input_shape, generator=torch.Generator().manual_seed(0))
        return values.to(self.device, DTYPES[self.dtype]).requires_grad_()


@dataclass(frozen=True)
class Candidate:
    """A layer to measure: a conv kind with its options, and which implementation computes it.

    Attributes:
        name: What the user called it.
        kind: Conv kind.
        implementation: Of the adaptive convolution, or None for the one that is used anyway.
        options: Options of the kind, and `groups` if other than the shape's.
    """

    name: str
    kind: str
    implementation: Implementation | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Read `kind[@implementation][:option=value,...]`, such as `adaptive@reference:generator_size=5`.

        Raises:
            UserError: It is not of that form, or the kind, the implementation or an option is unknown.
        """
        head, _, tail = text.partition(":")
        kind, at, implementation = head.partition("@")
        known = get_args(Implementation)
        if at and implementation not in known:
            raise UserError(f"{text!r}: unknown implementation {implementation!r}; known: {', '.join(known)}")
        options: dict[str, Any] = {}
        for part in filter(None, tail.split(",")):
            name, equals, value = part.partition("=")
            if not equals or not value:
                raise UserError(f"{text!r}: options are written kind:option=value,option=value, got {part!r}")
            try:
                options[name] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise UserError(f"{text!r}: {value!r} is no value for {name!r}") from error
        conv_kind(kind, {name: value for name, value in options.items() if name != "groups"})
        return cls(text, kind, implementation or None, options)  # type: ignore[arg-type]

    def build(self, shape: Shape) -> nn.Module:
        """Make the layer, with the same parameters each time.

        Raises:
            UserError: The layer refuses its arguments.
        """
        options = dict(self.options)
        groups = options.pop("groups", shape.groups)
        torch.manual_seed(0)
        try:
            with torch.device(shape.device):  # not every kind has an argument for it, or for the dtype
                layer = conv_kind(self.kind, options)(
                    shape.in_channels,
                    shape.out_channels,
                    shape.kernel_size,
                    stride=shape.stride,
                    padding=shape.padding,
                    dilation=shape.dilation,
                    groups=groups,
                )
            return layer.to(DTYPES[shape.dtype])
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"{self.name}: {error}") from error

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the implementation that was asked for compute, as long as this lasts."""
        before = os.environ.get(VARIABLE)
        if self.implementation is not None:
            os.environ[VARIABLE] = self.implementation
        try:
            yield
        finally:
            if self.implementation is not None:
                os.environ.pop(VARIABLE)
                if before is not None:
                    os.environ[VARIABLE] = before


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


STANDARD = Candidate("nn.Conv2d", "standard")
"""What all others are compared with."""


@dataclass(frozen=True)
class Step:
    """A candidate at work: its layer and what runs it, its input, a gradient for its output, and its first seconds."""

    candidate: Candidate
    layer: nn.Module
    run: Callable[[Tensor], Tensor]
    input: Tensor
    grad_output: Tensor
    first_seconds: float = 0.0

    @classmethod
    def of(cls, candidate: Candidate, shape: Shape) -> Step:
        """Build the layer and run it once.

        Raises:
            UserError: It cannot compute this shape.
        """
        layer, input = candidate.build(shape), shape.input()
        run = torch.compile(layer) if shape.compile else layer
        begin = time.perf_counter()
        try:
            with candidate.running(), torch.no_grad():
                out = run(input)
            wait_for(input.device)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{candidate.name}: {error}") from error
        return cls(candidate, layer, run, input, torch.ones_like(out), time.perf_counter() - begin)

    def forward(self) -> None:
        """Forward pass, without gradients."""
        with self.candidate.running(), torch.no_grad():
            self.run(self.input)

    def training(self) -> None:
        """Forward and backward, to the gradients of the input and all parameters."""
        self.layer.zero_grad()
        self.input.grad = None
        with self.candidate.running():
            self.run(self.input).backward(self.grad_output)  # type: ignore[no-untyped-call]
