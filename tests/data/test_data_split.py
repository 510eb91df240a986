import pytest
import torch

from lit_adaptconv.data.split import stratified_split
from lit_adaptconv.errors import UserError

LABELS = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("size", [0.1, 0.25, 3, 17, 50])
def test_a_split_parts_the_samples_and_holds_out_exactly_the_count(size: float) -> None:
    kept, held = stratified_split(LABELS, size, seed=1)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(100))
    assert len(held) == (round(100 * size) if size < 1 else size)


def test_every_class_is_held_out_in_proportion_to_within_one_sample() -> None:
    _, held = stratified_split(LABELS, 17, seed=1)
    counts = torch.bincount(LABELS[held], minlength=3)
    assert torch.all((counts - 0.17 * torch.tensor([70, 20, 10])).abs() < 1)


def test_the_split_is_drawn_from_the_seed_alone() -> None:
    _, first = stratified_split(LABELS, 0.2, seed=1)
    torch.manual_seed(123)
    assert torch.equal(first, stratified_split(LABELS, 0.2, seed=1)[1])
    assert not torch.equal(first, stratified_split(LABELS, 0.2, seed=2)[1])


@pytest.mark.parametrize("size", [0.001, 100, 250])
def test_a_split_that_leaves_one_side_empty_is_refused(size: float) -> None:
    with pytest.raises(UserError, match=r"^val_size=.* of 100 images"):
        stratified_split(LABELS, size, seed=0)


def test_a_split_that_would_take_a_whole_class_is_refused() -> None:
    with pytest.raises(UserError, match="all 1 images of class 1"):
        stratified_split(torch.tensor([0, 0, 1]), 2, seed=0)
