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
from torch.autograd import forward_ad

Implementation = Literal["reference", "cpu", "gpu"]
VARIABLE = "LIT_ADAPTCONV_IMPLEMENTATION"
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OLDEST_GPU = (7, 0)  # the oldest for which Triton compiles


def implementation(device: str, dtype: torch.dtype) -> Implementation:
    """Name what computes `adaptive_conv2d` for tensors of this type of device and number.

    The environment variable `LIT_ADAPTCONV_IMPLEMENTATION` may ask for the reference; any other name in it is a demand
    that this one be used. Forward-mode derivatives go through the reference, whose operators have them to any order:
    where one forward mode is inside another, PyTorch is silently wrong about operators with a rule of their own.

    Raises:
        ValueError: The variable holds an unknown name, or one that cannot compute this.
    """
    wish = os.environ.get(VARIABLE)
    if wish and wish not in get_args(Implementation):
        raise ValueError(f"{VARIABLE} must be one of {', '.join(get_args(Implementation))}, got {wish!r}")
    if wish == "reference" or forward_ad._current_level >= 0:
        return "reference"
    found = fused(device, dtype)
    if wish and wish != found and device != "meta":
        raise ValueError(f"{VARIABLE}={wish} cannot be used: on {device} tensors of {dtype}, {found} computes")
    return found


# TorchDynamo takes the answer for a constant: all that torch.compiler.assume_constant_result does, which imports it.
implementation.__dict__["_dynamo_marked_constant"] = True


def fuses_on_gpu(device: str, dtype: torch.dtype) -> bool:
    """Whether Triton computes what surrounds a layer's convolutions; plain PyTorch, which does it elsewhere, is usual.

    The environment variable and forward mode mean what they mean for `implementation`.
    """
    if device != "cuda" or os.environ.get(VARIABLE) == "reference" or forward_ad._current_level >= 0:
        return False
    return _triton_computes(dtype)


fuses_on_gpu.__dict__["_dynamo_marked_constant"] = True


@cache
def _triton_computes(dtype: torch.dtype) -> bool:
    return _obstacle("gpu", "cuda", dtype) is None


@cache
def fused(device: str, dtype: torch.dtype) -> Implementation:
    """The fused implementation for such tensors or, with a warning at the first call, the reference."""
    if device == "meta":
        return "cpu"  # shapes alone; the operator's FLOPs are counted
    name: Implementation = "cpu" if device == "cpu" else "gpu"
    if obstacle := _obstacle(name, device, dtype):
        warnings.warn(f"adaptive_conv2d uses its slow reference implementation: {obstacle}", stacklevel=4)
        return "reference"
    return name


def _obstacle(name: str, device: str, dtype: torch.dtype) -> str | None:
    """Say why a fused implementation cannot be used, if so."""
    if device not in ("cpu", "cuda"):
        return f"the fused ones compute on cpu and cuda tensors, not on {device} tensors"
    if dtype not in DTYPES:
        return f"the fused ones know float32, float64, float16 and bfloat16, not {dtype}"
    try:
        importlib.import_module(f"lit_adaptconv.ops.{name}")
    except ImportError as error:
        return f"{'numba' if name == 'cpu' else 'triton'} cannot be imported ({error})"
    return None if name == "cpu" else _triton_obstacle()


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
