"""Times the training step of each network of a sweep by turns, when its trials are over.

The trials run at different moments of a machine that others may use, so their own seconds tell how busy it was, too. By
turns whatever else the machine does meets all networks alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import lightning.pytorch as pl
import torch

from lit_adaptconv.measure.environment import device_name, versions
from lit_adaptconv.sweep.estimate import QUIET, step_seconds
from lit_adaptconv.sweep.plan import ArmBudget, Plan
from lit_adaptconv.sweep.run import Prepared
from lit_adaptconv.sweep.step_costs import StepCost, StepCosts, read_step_costs
from lit_adaptconv.sweep.store import Store

SHARE = 0.05
"""How long it may take, as a share of the seconds that the trials were trained."""
FEWEST, MOST = 3, 20
"""Turns of each network."""
LEAST_SECONDS = 0.1
"""What a turn takes at the least; where that is too long, nothing is begun."""


def time_steps(prepared: Prepared, store: Store, interrupted: Callable[[], bool]) -> bool:
    """Time the steps, and write them into the sweep's folder, unless they stand there.

    Nothing is timed where trials ran elsewhere or not all alike, where tuning gives networks that the plan does not
    name, or where it would take too long beside the training.

    Args:
        prepared: The plan.
        store: The sweep's results.
        interrupted: Whether to stop.

    Returns:
        Whether they were written.

    Raises:
        UserError: A network can't be trained.
    """
    plan = prepared.maker.plan
    done = [(trial, result) for trial, result in store.begun() if result.status == "done"]
    networks = list(dict.fromkeys(ArmBudget(trial.arm, trial.budget) for trial, _ in done))
    places = {(result.device, result.threads) for _, result in done}
    several = plan.trainer.get("devices") not in (None, 1, "1", "auto")
    if plan.tuning is not None or several or len(places) != 1:
        return False
    before = read_step_costs(store.folder.path)
    if before is not None and {ArmBudget(cost.arm, cost.budget) for cost in before.costs} >= {*networks}:
        return False
    allowed = SHARE * sum(result.training_seconds for _, result in done)
    if FEWEST * len(networks) * LEAST_SECONDS > allowed:
        return False
    device, threads = places.pop()
    if device != device_name(_device(plan)):
        return False
    usual = torch.get_num_threads()
    taken: dict[ArmBudget, list[float]] = {at: [] for at in networks}
    begin = time.perf_counter()
    torch.set_num_threads(threads)
    try:
        for turn in range(1, MOST + 1):
            for at, seconds in taken.items():
                if interrupted():
                    return False
                seconds.append(step_seconds(prepared, at))
            each = (time.perf_counter() - begin) / turn
            if each * max(FEWEST, turn + 1) > allowed:
                break
    finally:
        torch.set_num_threads(usual)
    if turn < FEWEST:
        return False
    costs = tuple(StepCost(at.arm, at.budget, statistics.median(seconds)) for at, seconds in taken.items())
    StepCosts(device, threads, versions(), turn, costs).write(store.folder.path)
    return True


def _device(plan: Plan) -> torch.device:
    """What the plan's trainer would train on here."""
    device: torch.device = pl.Trainer(
        accelerator=plan.trainer.get("accelerator") or "auto", devices=1, **QUIET
    ).strategy.root_device
    return device
