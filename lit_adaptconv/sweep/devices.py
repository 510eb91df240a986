"""The GPUs of a trial: how many it trains on, and which of this machine's it may see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.plan import Plan

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the GPUs that a process sees, read when CUDA is initialised in it."""


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process sees, by the names or numbers by which `CUDA_VISIBLE_DEVICES` tells them."""
    import torch

    present = torch.cuda.device_count()
    given = os.environ.get(VISIBLE)
    names = [*map(str, range(present))] if given is None else [name.strip() for name in given.split(",")]
    return tuple(names[:present])


def processes(trainer: Mapping[str, Any], gpus: int) -> int:
    """How many processes Lightning trains with, one on each device.

    Args:
        trainer: Settings of the trainer.
        gpus: GPUs that are visible.

    Raises:
        UserError: The devices are named, not counted.
    """
    devices, on_gpu = trainer.get("devices"), uses_gpus(trainer, gpus)
    if isinstance(devices, str) and "," in devices:
        devices = [int(number) for number in devices.split(",") if number.strip()]
    if isinstance(devices, (list, tuple)):
        if sorted(devices) != [*range(len(devices))]:
            raise UserError(f"trainer.devices: a sweep chooses a trial's GPUs; give their number, got {devices}")
        number = len(devices)
    elif devices in (None, "auto"):
        number = max(1, gpus) if on_gpu else 1
    else:
        number = int(devices)
        number = (gpus if on_gpu else 1) if number == -1 else number
    return number * int(trainer.get("num_nodes") or 1)


def uses_gpus(trainer: Mapping[str, Any], gpus: int) -> bool:
    """Whether a trainer trains on GPUs where so many are visible."""
    return gpus > 0 and trainer.get("accelerator") in (None, "auto", "gpu", "cuda")


def gpus_of_trial(plan: Plan, workers_per_gpu: int | None, gpus: int) -> float | None:
    """The share of a machine's GPUs that a trial gets: one, unless the plan says more or several workers share one.

    Args:
        plan: The plan.
        workers_per_gpu: Trials that train on one GPU at the same time; None: one.
        gpus: GPUs that are there.

    Returns:
        A number of GPUs, perhaps a fraction; None where trials use none.

    Raises:
        UserError: The settings contradict each other.
    """
    if workers_per_gpu is not None and workers_per_gpu < 1:
        raise UserError(f"workers_per_gpu must be at least 1, got {workers_per_gpu}")
    if workers_per_gpu is not None and plan.gpus is not None:
        raise UserError(f"give gpus (now {plan.gpus:g}) or --workers-per-gpu (now {workers_per_gpu}), not both")
    trainer = plan.trainer
    explicit = trainer.get("devices") not in (None, "auto")
    number = processes({**trainer, "num_nodes": 1}, gpus) if explicit and uses_gpus(trainer, gpus) else 1
    if plan.gpus is not None:
        if plan.gpus > 0 and number > max(1, round(plan.gpus)):
            raise UserError(f"trainer.devices is {number} and gpus {plan.gpus:g}: a trial trains on as many as it gets")
        return plan.gpus
    if not uses_gpus(trainer, gpus):
        return None
    if number > 1 and workers_per_gpu is not None and workers_per_gpu > 1:
        raise UserError(f"a trial trains on {number} GPUs (trainer.devices): leave out --workers-per-gpu")
    return number if number > 1 else 1 / (workers_per_gpu or 1)
