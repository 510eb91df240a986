"""Learning-rate schedules, beside PyTorch's."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from training import digits, trainer

from lit_adaptconv.train import ImageClassifier, WarmupCosine


def rates(schedule: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


def sgd(rate: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


@given(
    total=st.integers(1, 60), warmup=st.floats(0, 0.9), final=st.sampled_from([0.0, 0.1, 1.0]), peak=st.floats(0.001, 1)
)
def test_warm_up_and_cosine_are_those_of_pytorch_one_after_the_other(
    total: int, warmup: float, final: float, peak: float
) -> None:
    schedule = WarmupCosine(sgd(peak), total, warmup, final)
    rising = round(warmup * total)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that PyTorch calls old
        reference = sgd(peak)
        falling = CosineAnnealingLR(reference, max(1, total - rising), final * peak)
        expected: Any = falling
        if rising:
            up = LinearLR(reference, 1 / (rising + 1), total_iters=rising)
            expected = SequentialLR(reference, [up, falling], [rising])
        wanted = rates(expected, total)
    got = rates(schedule, total)
    assert got == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert max(got) == pytest.approx(peak if rising < total else peak * total / (rising + 1))
    assert schedule.get_last_lr()[0] == pytest.approx(final * peak, abs=1e-12) or rising == total


@pytest.mark.parametrize("wrong", [{"total_steps": 0}, {"warmup": 1.0}, {"warmup": -0.1}, {"final": 1.1}])
def test_what_is_no_schedule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .*, got"):
        WarmupCosine(sgd(0.1), **{"total_steps": 10, **wrong})


def test_the_length_is_filled_in() -> None:
    module = ImageClassifier(image_size=(12, 12), scheduler=partial(WarmupCosine, warmup=0.5))
    end = trainer(max_epochs=2, limit_train_batches=3, limit_val_batches=0)
    end.fit(module, digits())
    schedule = end.lr_scheduler_configs[0].scheduler
    assert (schedule.total_steps, schedule.warmup_steps, schedule.last_epoch) == (6, 3, 6)


class Rates(pl.Callback):
    """The learning rate of each epoch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(("monitor", "mode", "falls"), [("val/accuracy", "min", False), ("val/accuracy", "max", True)])
def test_a_schedule_that_follows_a_metric_follows_its_monitor(monitor: str, mode: Any, falls: bool) -> None:
    """The rate is too small to change the accuracy, so the rate falls at every epoch but the first."""
    seen = Rates()
    schedule = partial(ReduceLROnPlateau, monitor=monitor, mode=mode, patience=0, threshold=0.0 if falls else -2.0)
    module = ImageClassifier(
        image_size=(12, 12),
        optimizer=partial(torch.optim.SGD, lr=1e-12),
        scheduler=partial(schedule, factor=0.5, eps=0.0),
    )
    trainer(max_epochs=4, limit_train_batches=1, callbacks=[seen]).fit(module, digits())
    assert seen.seen == ([1e-12, 1e-12, 5e-13, 2.5e-13] if falls else [1e-12] * 4)
