from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lit_adaptconv.data import Digits
from lit_adaptconv.train.resume import RandomStateCallback


def trainer(loaders: Any) -> Any:
    return SimpleNamespace(train_dataloader=loaders, global_rank=0, world_size=1)


def continued() -> RandomStateCallback:
    callback = RandomStateCallback()
    callback.load_state_dict(callback.state_dict())
    return callback


def draw() -> list[Any]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.randn(3)]  # noqa: NPY002


def test_all_generators_go_on_where_the_checkpoint_was_written(tmp_path: Path) -> None:
    draw()  # an odd number of normal numbers: one is kept in reserve
    torch.save(RandomStateCallback().state_dict(), tmp_path / "state")
    expected = draw()
    callback = RandomStateCallback()
    callback.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    draw()  # what happens between loading and training does not matter
    callback.on_train_start(trainer([]), None)  # type: ignore[arg-type]
    got = draw()
    assert got[:4] == expected[:4]
    assert torch.equal(got[4], expected[4])


def test_without_a_checkpoint_the_generators_are_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    RandomStateCallback().on_train_start(trainer([]), None)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_that_cannot_be_continued_is_told_once() -> None:
    loader = DataLoader([0, 1])
    with pytest.warns(UserWarning, match="a DataLoader cannot be continued within an epoch") as said:
        continued().on_train_start(trainer([loader, loader]), None)  # type: ignore[arg-type]
    assert len(said) == 1
    RandomStateCallback().on_train_start(trainer(loader), None)  # type: ignore[arg-type] # nothing is continued
    data = Digits(image_size=12, seed=0)
    data.setup("fit")
    continued().on_train_start(trainer(data.train_dataloader()), None)  # type: ignore[arg-type]
