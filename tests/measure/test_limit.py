from __future__ import annotations

import pytest
import torch

from lit_adaptconv.measure.limit import Speeds, copy_bytes, large_copy, matrix_product, matrix_size, pass_bytes
from lit_adaptconv.measure.timing import Times


def test_speeds_follow_from_the_times_of_what_is_computed_and_copied() -> None:
    for device in ("cpu", "cuda"):
        speeds = Speeds.measured(Times((2.0,)), Times((4.0,)), device)
        assert speeds.flops == matrix_size(device) ** 3
        assert speeds.bytes == copy_bytes(device) / 2


@pytest.mark.parametrize(("flops", "bytes", "seconds"), [(100, 1, 10), (1, 100, 5), (0, 0, 0)])
def test_the_larger_limit_counts(flops: int, bytes: int, seconds: float) -> None:
    assert Speeds(10, 20).least_seconds(flops, bytes) == seconds


def test_what_is_timed_takes_as_many_flops_and_bytes_as_is_counted() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        product = matrix_product("cpu", torch.float32)()
    assert isinstance(product, torch.Tensor)
    assert counter.get_total_flops() == 2 * matrix_size("cpu") ** 3
    copied = large_copy("cpu")()
    assert isinstance(copied, torch.Tensor)
    assert copied.nbytes == copy_bytes("cpu")
    assert not copied.any()


def test_a_training_step_reads_and_writes_what_both_passes_do() -> None:
    assert pass_bytes(3, 5) == (3 + 5, (3 + 5) + (3 + 5 + 3))
