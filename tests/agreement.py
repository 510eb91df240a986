"""Outputs and gradients of a fused kernel beside the reference's in float64."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from cases import Case
from torch import Tensor

from lit_adaptconv.functional import adaptive_conv2d
from lit_adaptconv.ops.choice import VARIABLE

Layout = Callable[[Tensor], Tensor]

LAYOUTS: dict[str, Layout] = {
    "contiguous": lambda t: t,
    "channels last": lambda t: t.movedim(-3, -1).contiguous().movedim(-1, -3),
    "transposed": lambda t: t.mT.contiguous().mT,
    "every second pixel": lambda t: t.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., ::2, ::2],
    "inside a larger image": lambda t: torch.nn.functional.pad(t, (3, 1, 2, 2), value=7)[..., 2:-2, 3:-1],
}


def tensors(case: Case, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Input, generator weight, generator bias and bias of a case."""
    taps = case.kernel_size[0] * case.kernel_size[1]
    shapes = (
        case.input_shape,
        (case.out_channels * case.group_in, taps, *case.generator_size),
        (case.out_channels, case.group_in, taps),
        (case.out_channels,),
    )
    x, weight, bias, out_bias = (torch.from_numpy(a) for a in case.normal(*shapes))
    return [x.to(dtype), (0.3 * weight).to(dtype), bias.to(dtype), out_bias.to(dtype)]


def results(
    arguments: Sequence[Tensor], implementation: str, layout: Layout = LAYOUTS["contiguous"], **options: Any
) -> list[Tensor]:
    """Output, and gradients of all arguments for a fixed random gradient of the output."""
    arguments = [t.detach().requires_grad_() for t in arguments]
    with mock.patch.dict(os.environ, {VARIABLE: implementation}):
        out = adaptive_conv2d(layout(arguments[0]), *arguments[1:], **options)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    return [out.detach(), *torch.autograd.grad(out, arguments, layout(cotangent))]


def relative_errors(got: Sequence[Tensor], expected: Sequence[Tensor]) -> list[float]:
    """Largest difference in each tensor, relative to its largest element."""
    assert [t.shape for t in got] == [t.shape for t in expected]
    scale = [e.double().abs().max().clamp_min(1e-30) if e.numel() else torch.tensor(1.0) for e in expected]
    pairs = zip(got, expected, scale, strict=True)
    return [float((g.double() - e.double()).abs().max() / s) if g.numel() else 0.0 for g, e, s in pairs]


@contextmanager
def float32_convolutions(precision: str) -> Iterator[None]:
    """Let convolutions in float32 use "tf32" on a GPU, or only "ieee"."""
    settings = torch.backends.cudnn.conv
    old = settings.fp32_precision
    settings.fp32_precision = precision
    try:
        yield
    finally:
        settings.fp32_precision = old
