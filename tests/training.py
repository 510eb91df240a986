"""What tests of training share: a quiet trainer and a small problem that is quickly learned."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from lit_adaptconv.data import Digits


def trainer(**arguments: Any) -> pl.Trainer:
    """A trainer on the CPU that writes nothing and prints nothing."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**{**quiet, **arguments})


def digits(**arguments: Any) -> Digits:
    """The digits, 12×12 pixels: as small as LeNet5 allows."""
    return Digits(**{"image_size": 12, "batch_size": 128, "seed": 0, **arguments})


def same_state(a: Any, b: Any) -> bool:
    """Whether two nested states are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_state(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_state, a, b))
    return bool(a == b)
