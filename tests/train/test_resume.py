from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lit_adaptconv.train.resume import RandomStateCallback


def draw() -> list[Any]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.randn(3)]  # noqa: NPY002


def test_all_generators_go_on_where_the_checkpoint_was_written(tmp_path: Path) -> None:
    draw()  # an odd number of normal numbers: one is kept in reserve
    torch.save(RandomStateCallback().state_dict(), tmp_path / "state")
    expected = draw()
    callback = RandomStateCallback()
    callback.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    draw()  # what happens between loading and training does not matter
    callback.on_train_start(None, None)  # type: ignore[arg-type]
    got = draw()
    assert got[:4] == expected[:4]
    assert torch.equal(got[4], expected[4])


def test_without_a_checkpoint_the_generators_are_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    RandomStateCallback().on_train_start(None, None)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
