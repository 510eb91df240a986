from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lit_adaptconv.convergence import ConvergenceCallback, Evaluation, first_reached, number

CURVE = [
    Evaluation(10 * (i + 1), i + 1.0, 100 * (i + 1), 0.5 * (i + 1), v) for i, v in enumerate((0.5, 0.9, 0.85, 0.97))
]


def test_a_target_is_reached_at_the_first_evaluation_at_or_above_it() -> None:
    assert first_reached(CURVE, 0.9).steps == 20
    assert first_reached(CURVE, 0.91).steps == 40
    assert first_reached(CURVE, 0.91).flops == 400
    never = first_reached(CURVE, 0.98)
    assert (never.steps, never.epochs, never.flops, never.seconds) == (None, None, None, None)
    assert first_reached(CURVE, 0.6, "min").steps == 10


@pytest.mark.parametrize("hundredths", range(50, 100))
def test_a_float32_accuracy_reaches_the_target_that_it_equals(hundredths: int) -> None:
    accuracy = number(torch.tensor(hundredths, dtype=torch.float32) / 100)
    assert accuracy is not None
    assert accuracy >= hundredths / 100


class Foreign(pl.LightningModule):
    """A module that knows nothing of this package, and whose evaluation is slow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.evaluations = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        time.sleep(0.01)
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        time.sleep(0.2)

    def on_validation_epoch_end(self) -> None:
        self.evaluations += 1
        self.log("score", self.evaluations / 10)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_it_works_on_any_module_and_does_not_count_evaluation() -> None:
    callback = ConvergenceCallback([0.2, 0.4, 0.9], monitor="score")
    trainer = pl.Trainer(
        max_epochs=2,
        val_check_interval=0.5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        callbacks=[callback],
    )
    data = TensorDataset(torch.randn(16, 2))
    model = Foreign()
    start = time.perf_counter()
    trainer.fit(model, DataLoader(data, batch_size=4), DataLoader(data, batch_size=16))
    assert time.perf_counter() - start > 0.8
    assert [e.step for e in callback.curve] == [2, 4, 6, 8]
    assert [e.epoch for e in callback.curve] == [0.5, 1.0, 1.5, 2.0]
    assert [r.steps is not None for r in callback.reached] == [True, True, False]
    assert all(e.flops is None for e in callback.curve)
    assert callback.samples == 32
    assert callback.seconds < 0.7  # four evaluations alone take 0.8


def test_its_state_is_restored() -> None:
    callback = ConvergenceCallback()
    callback.curve, callback.seconds, callback.samples = list(CURVE), 2.0, 40
    other = ConvergenceCallback()
    other.load_state_dict(callback.state_dict())
    assert (other.curve, other.seconds, other.samples) == (CURVE, 2.0, 40)
