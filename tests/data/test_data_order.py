from itertools import pairwise

import pytest
import torch

from lit_adaptconv.data.order import BatchOrder, generator
from lit_adaptconv.errors import UserError


def batches(order: BatchOrder) -> list[list[int]]:
    edges = order.edges()
    return [order.indices()[i:j].tolist() for i, j in pairwise(edges)]


def test_an_epoch_is_a_permutation_that_the_seed_and_the_epoch_determine() -> None:
    order = BatchOrder(50, batch_size=7, seed=3, shuffle=True)
    first = order.indices()
    assert sorted(first.tolist()) == list(range(50))
    order.set_epoch(1)
    assert not torch.equal(first, order.indices())
    torch.manual_seed(99)
    assert torch.equal(first, BatchOrder(50, batch_size=7, seed=3, shuffle=True).indices())
    assert not torch.equal(first, BatchOrder(50, batch_size=7, seed=4, shuffle=True).indices())


def test_evaluation_takes_the_images_in_their_order() -> None:
    assert batches(BatchOrder(7, batch_size=3)) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize(
    ("length", "drop_last", "sizes"),
    [
        (9, False, [4, 4]),
        (10, False, [4, 4, 2]),
        (10, True, [4, 4]),
        (8, True, [4, 4]),
        (1, False, [1]),
        (3, True, [3]),
    ],
)
def test_a_last_training_batch_of_one_image_is_left_out(length: int, drop_last: bool, sizes: list[int]) -> None:
    order = BatchOrder(length, batch_size=4, shuffle=True, drop_last=drop_last)
    assert [len(batch) for batch in batches(order)] == sizes


@pytest.mark.parametrize(("length", "world_size"), [(23, 2), (24, 4), (25, 8), (9, 8)])
def test_processes_evaluate_every_image_once_in_equally_many_batches(length: int, world_size: int) -> None:
    shares = [batches(BatchOrder(length, batch_size=3, rank=r, world_size=world_size)) for r in range(world_size)]
    assert sorted(index for share in shares for batch in share for index in batch) == list(range(length))
    assert len({len(share) for share in shares}) == 1
    assert all(0 < len(batch) <= 3 for share in shares for batch in share)


@pytest.mark.parametrize(("length", "world_size"), [(23, 2), (24, 4), (25, 8), (9, 8)])
def test_processes_train_on_every_image_with_equally_long_shares(length: int, world_size: int) -> None:
    orders = [BatchOrder(length, batch_size=2, shuffle=True, rank=r, world_size=world_size) for r in range(world_size)]
    shares = [order.indices().tolist() for order in orders]
    assert {index for share in shares for index in share} == set(range(length))
    assert {len(share) for share in shares} == {-(-length // world_size)}
    assert len({len(order.edges()) for order in orders}) == 1


def test_fewer_images_than_processes_are_refused() -> None:
    with pytest.raises(UserError, match="3 images cannot be shared among 4 processes"):
        BatchOrder(3, batch_size=1, world_size=4)


def test_generators_of_different_keys_differ() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 0, 1, 1), (2**32 - 1, 0)]
    assert len({torch.randint(2**62, (1,), generator=generator(*key)).item() for key in keys}) == len(keys)
