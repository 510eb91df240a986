"""What a machine can do at most: how fast it copies memory, and how fast it multiplies matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lit_adaptconv.measure.timing import Times


def matrix_size(device: torch.device | str) -> int:
    """Rows and columns of matrices whose product shows a device's speed."""
    return 1024 if torch.device(device).type == "cpu" else 8192


def copy_bytes(device: torch.device | str) -> int:
    """Size of a copy that shows the speed of a device's memory: more than its caches hold."""
    return 2**27 if torch.device(device).type == "cpu" else 2**30


def matrix_product(device: torch.device | str, dtype: torch.dtype) -> Callable[[], object]:
    """A large matrix product; one of float32 takes no TF32, unless PyTorch is told to."""
    size = matrix_size(device)
    a = torch.randn(size, size, dtype=torch.float32).to(device, dtype)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out)


def large_copy(device: torch.device | str) -> Callable[[], object]:
    """A large copy within a device's memory."""
    source = torch.zeros(copy_bytes(device), dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return lambda: target.copy_(source)


@dataclass(frozen=True)
class Speeds:
    """What a device does in a second, at most."""

    flops: float
    bytes: float

    @classmethod
    def measured(cls, product: Times, copy: Times, device: torch.device | str) -> Speeds:
        """From the median times of `matrix_product` and `large_copy`; a copy reads and writes."""
        flops = 2 * matrix_size(device) ** 3
        return cls(flops / product.spread.median, 2 * copy_bytes(device) / copy.spread.median)

    def least_seconds(self, flops: float, bytes: float) -> float:
        """The time that something takes at the least: the larger of its arithmetic's and its bytes'."""
        return max(flops / self.flops, bytes / self.bytes)


def pass_bytes(input: int, output: int) -> tuple[int, int]:
    """Bytes that a layer reads and writes at the least, from those of its input and its output.

    Returns:
        Of the forward pass, which reads the one and writes the other; and of a training step, whose backward pass
        reads the input and the output's gradient, and writes the input's.
    """
    return input + output, 3 * input + 2 * output
