from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from lit_adaptconv.backbones import ConvNet
from lit_adaptconv.classifier import ImageClassifier
from lit_adaptconv.data import Digits
from lit_adaptconv.errors import UserError


def test_probabilities_sum_to_one() -> None:
    model = ImageClassifier(kind="adaptive_low_rank", budget=3000).eval()
    out = model.predict_step((torch.randn(5, 1, 28, 28), torch.zeros(5)), 0)
    torch.testing.assert_close(out.sum(1), torch.ones(5))


def test_label_smoothing_is_cross_entropy_with_softened_targets() -> None:
    model = ImageClassifier(label_smoothing=0.2)
    images, labels = torch.randn(6, 1, 28, 28), torch.arange(6)
    soft = torch.full((6, 10), 0.02)
    soft[torch.arange(6), labels] += 0.8
    expected = -(soft * model(images).log_softmax(1)).sum(1).mean()
    got = torch.nn.functional.cross_entropy(model(images), labels, label_smoothing=model.label_smoothing)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", ["standard", "adaptive", "adaptive_low_rank"])
def test_it_learns_a_batch_by_heart(kind: str) -> None:
    torch.manual_seed(0)
    model = ImageClassifier(ConvNet, kind=kind)
    images, labels = torch.randn(16, 1, 28, 28), torch.arange(16) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_a_checkpoint_made_in_python_is_read_safely(tmp_path: Path) -> None:
    model = ImageClassifier(kind="separable", width=0.5)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, Digits())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ImageClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)


def test_width_and_budget_exclude_each_other() -> None:
    with pytest.raises(UserError, match="not both"):
        ImageClassifier(width=2.0, budget=100_000)
