"""The type of numbers in which narrow ones are summed."""

from __future__ import annotations

import torch


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """Float32 at least, so that what is summed of narrow floating-point numbers is rounded once."""
    return torch.float64 if dtype == torch.float64 else torch.float32
