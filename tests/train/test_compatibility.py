"""Checkpoints from when stacks of kernels had five dimensions."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import digits, same_state, trainer

from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.schedules import OneCycle


def unstacked(checkpoint: dict[str, Any], second: dict[torch.Size, int]) -> dict[str, Any]:
    """The checkpoint as it was written then: the first dimension of these shapes was two, the second of them given."""

    def split(value: Any) -> Any:
        if isinstance(value, Tensor) and value.shape in second:
            return value.unflatten(0, (-1, second[value.shape]))
        return value

    old = copy.deepcopy(checkpoint)
    old["state_dict"] = {name: split(value) for name, value in old["state_dict"].items()}
    for optimizer in old["optimizer_states"]:
        for index, state in optimizer["state"].items():
            optimizer["state"][index] = {name: split(value) for name, value in state.items()}
    return old


@pytest.mark.parametrize(
    ("kind", "options", "second"),
    [
        ("adaptive", {}, {(6, 25, 5, 5): 1, (96, 25, 5, 5): 6}),
        ("adaptive_low_rank", {"rank": 2}, {(12, 1, 5, 5): 6, (32, 6, 5, 5): 16}),
    ],
)
def test_a_training_is_continued_as_if_the_parameters_had_had_today_s_shapes(
    kind: str, options: dict[str, Any], second: dict[torch.Size, int], tmp_path: Path
) -> None:
    def model() -> ImageClassifier:
        torch.manual_seed(0)
        schedule = partial(OneCycle, total_steps=6)
        return ImageClassifier(kind=kind, kind_options=options, scheduler=schedule, image_size=(12, 12))

    first = trainer(max_steps=3, limit_train_batches=3, limit_val_batches=0)
    first.fit(model(), digits())
    first.save_checkpoint(tmp_path / "new.ckpt")
    new = torch.load(tmp_path / "new.ckpt", weights_only=True)
    old = unstacked(new, second)
    assert not same_state(old, new)
    torch.save(old, tmp_path / "old.ckpt")
    ends = []
    for name in ("new.ckpt", "old.ckpt"):
        ends.append(model())
        run = trainer(max_epochs=2, limit_train_batches=3, limit_val_batches=0)
        run.fit(ends[-1], digits(), ckpt_path=tmp_path / name, weights_only=True)
        assert run.global_step == 6
    assert same_state(ends[0].state_dict(), ends[1].state_dict())
