"""How many trials of an arm are trained together, and why where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.devices import uses_gpus, visible_gpus
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.run import Asked, Prepared
from lit_adaptconv.sweep.sizing import NetworkSize
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.stacked.network import check_stackable, training_bytes
from lit_adaptconv.train.stacked.training import check_config

MOST = 64
"""Trials on a GPU: with more the time grows with their number."""
MEMORY_SHARE = 0.5
"""Of a GPU's free memory, what a stack may take."""


@dataclass(frozen=True)
class StackSize:
    """How many trials of an arm at a budget are trained together.

    Attributes:
        number: The largest number.
        reason: Why it is one; empty where it is not, or nothing else was asked for.
    """

    number: int
    reason: str = ""


def stack_sizes(prepared: Prepared, asked: Asked, sharing: int = 1) -> dict[ArmBudget, StackSize]:
    """Decide how many trials of each arm at each budget are trained together.

    Args:
        prepared: The plan.
        asked: What is asked for.
        sharing: How many stacks share a GPU.

    Raises:
        UserError: It is no number of trials.
    """
    if asked != "auto" and asked < 1:
        raise UserError(f"--stack must be a number of trials from 1 on, or auto, got {asked}")
    sizes = prepared.maker.sizes
    if asked == 1:
        return dict.fromkeys(sizes, StackSize(1))
    found = {}
    for at, size in sizes.items():
        if size.impossible is None:
            found[at] = _size_of(prepared, at, size, asked, sharing)
            torch.cuda.empty_cache()  # of what was measured: the memory is the trials'
    return found


def _size_of(prepared: Prepared, at: ArmBudget, size: NetworkSize, asked: Asked, sharing: int) -> StackSize:
    maker, data = prepared.maker, prepared.data
    gpu = uses_gpus(maker.plan.trainer, len(visible_gpus())) and maker.plan.gpus != 0
    try:
        if asked == "auto" and not gpu:  # arithmetic takes a CPU's time, however it is arranged
            return StackSize(1)
        if gpu and (maker.plan.gpus or 1) > 1:
            raise UserError("a trial trains on several GPUs")
        if not isinstance(data, ImageData):
            raise UserError(f"{type(data).__name__} makes its batches itself")
        check_config(maker.config(maker.comparison(at)[0], ""))
        module = prepared.networks[at.arm].build(size.settings)
        if not isinstance(module, ImageClassifier):
            raise UserError(f"{type(module).__name__} computes its losses itself")
        check_stackable(module.network, module.image_shape)
    except UserError as error:
        return StackSize(1, str(error))
    if asked != "auto":
        return StackSize(asked)
    try:
        return StackSize(_that_fit(module.network, module.image_shape, data.batch_size, sharing))
    except RuntimeError as error:  # of a GPU whose memory is taken
        return StackSize(1, f"a trial step failed: {' '.join(str(error).split())[:200]}")


def _that_fit(network: nn.Module, image_shape: tuple[int, ...], batch: int, sharing: int) -> int:
    """How many networks the share of a GPU's free memory takes in training."""
    device = torch.device("cuda")
    free, _ = torch.cuda.mem_get_info(device)
    each = training_bytes(network.to(device), image_shape, batch)
    return max(1, min(MOST, int(MEMORY_SHARE * free / sharing / max(1, each))))


def told(sizes: Mapping[ArmBudget, StackSize]) -> list[str]:
    """What is to be said of the arms that are not trained in stacks though that was asked for."""
    reasons: dict[str, list[str]] = {}
    for at, size in sizes.items():
        if size.reason:
            reasons.setdefault(size.reason, []).append(at.arm)
    return [f"Trained one by one: {', '.join(dict.fromkeys(arms))} ({reason})." for reason, arms in reasons.items()]
