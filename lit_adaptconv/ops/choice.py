"""Which implementation computes a call: the fused one of the device, or the reference."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import warnings
from functools import cache
from typing import Literal, get_args

import torch

Kernel = Literal["reference", "cpu", "gpu"]
VARIABLE = "LIT_ADAPTCONV_KERNEL"
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
COMPILERS = {"cpu": "numba", "gpu": "triton"}
OLDEST_GPU = (7, 0)  # the oldest for which Triton compiles


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def choose(kernel: Kernel | None, device: str, dtype: torch.dtype) -> Kernel:
    """Choose the implementation.

    Without a wish of the caller's or in the environment variable `LIT_ADAPTCONV_KERNEL`, it is the device's fused
    kernel or, with one warning, the reference where that cannot be used. While PyTorch exports to ONNX, which cannot
    hold a custom operator, it is the reference.

    Args:
        kernel: The caller's wish; None leaves it to the environment variable.
        device: Type of the device of the tensors.
        dtype: Type of the tensors.

    Raises:
        ValueError: What is asked for is unknown or cannot compute this.
    """
    wish = kernel or os.environ.get(VARIABLE) or None
    if wish is not None:
        name = "kernel" if kernel else VARIABLE
        if wish not in get_args(Kernel):
            raise ValueError(f"{name} must be one of {', '.join(get_args(Kernel))}, got {wish!r}")
        shapes_alone = device == "meta"
        if wish != "reference" and not shapes_alone and (obstacle := _obstacle(wish, device, dtype)):
            raise ValueError(f"{name}={wish} cannot be used: {obstacle}")
        return wish  # type: ignore[return-value]
    if torch.onnx.is_in_onnx_export():
        return "reference"
    if device == "meta":
        return "cpu"  # shapes alone; the fused operator's FLOPs are counted
    if device not in ("cpu", "cuda"):
        return "reference"
    fused: Kernel = "gpu" if device == "cuda" else "cpu"
    if obstacle := _obstacle(fused, device, dtype):
        _warn(obstacle)
        return "reference"
    return fused


@cache
def _warn(obstacle: str) -> None:
    warnings.warn(f"adaptive_conv2d uses its slow reference implementation: {obstacle}", stacklevel=4)


@cache
def _obstacle(kernel: str, device: str, dtype: torch.dtype) -> str | None:
    """Say why a fused kernel cannot be used, and what could be, if so."""
    if dtype not in DTYPES:
        return f"the fused kernels know float32, float64, float16 and bfloat16, not {dtype}"
    interpreted = kernel == "gpu" and os.environ.get("TRITON_INTERPRET") == "1"
    home = "cuda" if kernel == "gpu" else "cpu"
    if device != home and not interpreted:
        other = {"cuda": "gpu or reference", "cpu": "cpu or reference"}.get(device, "reference")
        return f"the {kernel} kernel computes on {home} tensors, not on {device} tensors: take {other}"
    try:
        importlib.import_module(f"lit_adaptconv.ops.{kernel}")
    except ImportError as error:
        return f"{COMPILERS[kernel]} cannot be imported ({error})"
    return _triton_obstacle() if kernel == "gpu" and not interpreted else None


def _triton_obstacle() -> str | None:
    """Say what Triton lacks on this machine, if so: it would fail at the first call only."""
    # A tensor without memory may say that it is on a GPU where there is none.
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else OLDEST_GPU
    if capability < OLDEST_GPU:
        wanted, got = (".".join(map(str, c)) for c in (OLDEST_GPU, capability))
        return f"triton needs a GPU of compute capability {wanted} or later, this one has {got}"
    if sys.platform == "linux" and not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton needs a C compiler: install gcc or clang, or name one in the environment variable CC"
    return None
