"""How long a sweep will take: from trials that it has finished, or from a short probe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from lit_adaptconv.errors import UserError
from lit_adaptconv.sweep.plan import ArmBudget
from lit_adaptconv.sweep.progress import known_durations, seconds_of
from lit_adaptconv.sweep.run import Prepared
from lit_adaptconv.train.allocator import keep_freed_memory

PROBES = 8
FEWEST_STEPS, MOST_STEPS, PROBE_SECONDS = 5, 30, 0.25
"""A probe ends after so many steps, or after the time and the fewest."""
QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 0,
}
OVERHEAD_SECONDS = 1.5
"""What a trial takes beside training and evaluation: building, checkpoints, logging."""
FORWARD_SHARE = 0.35
"""Time of a forward pass, as a share of a training step."""


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of a trial, by arm and budget, and where the figures come from."""

    seconds: Mapping[ArmBudget, float]
    source: str


def estimate(prepared: Prepared, folder: Path, threads: int) -> Estimate | None:
    """Estimate how long a trial of each arm and budget takes, with one trial running.

    Trials that the folder's sweep has finished tell. Without them up to eight networks are trained for a few steps; the
    time of a step is taken to grow linearly with the network's FLOPs or, where those are not known, its parameters.

    Returns:
        None where the length of the training is not known: its data are not here yet, or it has no last epoch.
    """
    plan, sizes = prepared.maker.plan, prepared.maker.sizes
    known = known_durations(folder)
    if known:
        trials = sum(d.trials for d in known.values())
        return Estimate({at: seconds_of(known, at) for at in sizes}, f"{trials} finished trials")
    epochs, steps = plan.trainer.get("max_epochs"), plan.trainer.get("max_steps")
    try:
        prepared.data.setup("fit")
        batches, evaluated = len(prepared.data.train_dataloader()), len(prepared.data.val_dataloader())
    except (UserError, OSError, TypeError):  # TypeError: a loader without a length
        return None
    bounds = [n for n in (epochs and epochs > 0 and epochs * batches, steps and steps > 0 and steps) if n]
    possible = {at: size for at, size in sizes.items() if size.impossible is None}
    if not bounds or not possible:
        return None
    length = min(bounds)
    evaluations = length / batches / plan.evaluate_every * evaluated
    by_flops = all(size.flops for size in possible.values())
    work = {at: size.flops if by_flops else size.parameters for at, size in possible.items()}
    probed = _probe(prepared, work, threads)
    slope, base = np.polyfit([work[at] for at in probed], [*probed.values()], 1) if len(probed) > 1 else (0.0, 0.0)
    least = min(probed.values())
    seconds = {}
    for at in possible:
        step = probed.get(at, max(float(base + slope * work[at]), least))
        seconds[at] = OVERHEAD_SECONDS + step * (length + FORWARD_SHARE * evaluations)
    return Estimate(seconds, f"a probe of {len(probed)} networks")


def _probe(prepared: Prepared, work: Mapping[ArmBudget, int], threads: int) -> dict[ArmBudget, float]:
    """Seconds of a training step of some networks: of each arm the smallest and the largest, then whatever fits."""
    ordered = sorted(work, key=lambda at: work[at])
    arms = {at.arm: [other for other in ordered if other.arm == at.arm] for at in ordered}
    ends = [at for own in arms.values() for at in dict.fromkeys((own[0], own[-1]))]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {at: step_seconds(prepared, at) for at in ends[:: max(1, -(-len(ends) // PROBES))]}
    finally:
        torch.set_num_threads(before)


def step_seconds(prepared: Prepared, at: ArmBudget) -> float:
    """Median seconds of a training step, the making of its batch counted."""
    keep_freed_memory()  # as the trials do
    given, clock = prepared.maker.plan.trainer, _Clock()
    taken = {name: given[name] for name in ("accelerator", "devices", "precision") if given.get(name) is not None}
    module = prepared.networks[at.arm].build(prepared.maker.sizes[at].settings)
    try:
        pl.Trainer(max_steps=MOST_STEPS, callbacks=[clock], **taken, **QUIET).fit(module, prepared.data)
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the arm {at.arm!r} can't be trained: {type(error).__name__}: {error}") from error
    return float(np.median(np.diff(clock.times)[1:]))


class _Clock(pl.Callback):
    """Writes down when every training step ended, and ends the training when that is enough."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        enough = len(self.times) >= FEWEST_STEPS and self.times[-1] - self.times[0] > PROBE_SECONDS
        trainer.should_stop = trainer.should_stop or enough
