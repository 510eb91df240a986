"""How long a sweep will take: from trials that it has finished, or from a short probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from lit_adaptconv.data import ImageData
from lit_adaptconv.errors import UserError
from lit_adaptconv.measure.timing import Task, in_turns
from lit_adaptconv.models.backbones.base import Backbone
from lit_adaptconv.sweep.plan import Plan
from lit_adaptconv.sweep.progress import known_durations, seconds_of
from lit_adaptconv.sweep.sizing import Networks, NetworkSize
from lit_adaptconv.sweep.trial import Pair

PROBES = 8
PROBE_SECONDS = 0.25
OVERHEAD_SECONDS = 1.5
"""What a trial takes beside training and evaluation: building, checkpoints, logging."""
FORWARD_SHARE = 0.35
"""Time of a forward pass, as a share of a training step."""


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of a trial, by arm and budget, and where the figures come from."""

    seconds: Mapping[Pair, float]
    source: str


def estimate(
    plan: Plan,
    sizes: Mapping[Pair, NetworkSize],
    networks: Mapping[str, Networks],
    data: ImageData,
    folder: Path,
    threads: int,
) -> Estimate | None:
    """Estimate how long a trial of each arm and budget takes, with one trial running.

    Trials that the folder's sweep has finished tell. Without them up to eight networks are trained for a quarter of a
    second each, on random images, on the GPU if there is one; the time of a step is taken to grow linearly with FLOPs.

    Returns:
        None where the length of the training is not known: its data are not here yet, or it has no last epoch.
    """
    known = {(d.arm, d.budget): d for d in known_durations(folder)}
    if known:
        trials = sum(d.trials for d in known.values())
        return Estimate({pair: seconds_of(known, pair) for pair in sizes}, f"{trials} finished trials")
    epochs, steps = plan.trainer.get("max_epochs"), plan.trainer.get("max_steps")
    try:
        data.setup("fit")
        batches, evaluated = len(data.train_dataloader()), len(data.val_dataloader())
    except (UserError, OSError):
        return None
    bounds = [n for n in (epochs and epochs > 0 and epochs * batches, steps and steps > 0 and steps) if n]
    if not bounds:
        return None
    length = min(bounds)
    evaluations = length / batches / plan.evaluate_every * evaluated
    probed = _probe(sizes, networks, data, threads)
    if not probed:
        return None
    flops = np.array([sizes[pair].flops for pair in probed], dtype=float)
    measured = np.array(list(probed.values()))
    slope, base = np.polyfit(flops, measured, 1) if len(set(flops)) > 1 else (0.0, measured.mean())
    steps_of = {
        pair: probed.get(pair, max(float(base + slope * size.flops), float(measured.min())))
        for pair, size in sizes.items()
    }
    seconds = {
        pair: OVERHEAD_SECONDS + step * (length + FORWARD_SHARE * evaluations) for pair, step in steps_of.items()
    }
    return Estimate(seconds, f"a probe of {len(probed)} networks")


def _probe(
    sizes: Mapping[Pair, NetworkSize],
    networks: Mapping[str, Networks],
    data: ImageData,
    threads: int,
) -> dict[Pair, float]:
    """Seconds of a training step of some networks: of each arm the smallest and the largest, then whatever fits."""
    possible = sorted((pair for pair in sizes if sizes[pair].impossible is None), key=lambda pair: sizes[pair].flops)
    arms = {pair[0]: [p for p in possible if p[0] == pair[0]] for pair in possible}
    ends = [pair for own in arms.values() for pair in dict.fromkeys((own[0], own[-1]))]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = (data.batch_size, data.in_channels, *data.image_size)
    images, labels = torch.rand(shape, device=device), torch.zeros(shape[0], dtype=torch.int64, device=device)
    chosen = ends[:: max(1, -(-len(ends) // PROBES))]
    built = [networks[pair[0]].of(sizes[pair].widths).to(device) for pair in chosen]
    tasks = [Task(_training_step(network, images, labels), threads) for network in built]
    times = in_turns(tasks, rounds=2, seconds=PROBE_SECONDS * len(tasks))
    return {pair: taken.spread.median for pair, taken in zip(chosen, times, strict=True)}


def _training_step(network: Backbone, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step
