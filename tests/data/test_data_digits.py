import os

import pytest
import torch
from lightning import seed_everything
from sklearn.datasets import load_digits

from lit_adaptconv import data as room
from lit_adaptconv.data import Digits, ImageData
from lit_adaptconv.errors import UserError


def pixels(loader: object) -> set[bytes]:
    return {image.numpy().tobytes() for images, _ in loader for image in images}  # type: ignore[attr-defined]


def test_the_splits_part_the_digits_and_each_has_every_class_in_proportion() -> None:
    data = Digits(image_size=8)
    data.setup()
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    labels = [torch.cat([labels for _, labels in loader]) for loader in loaders]
    assert [len(part) for part in labels] == [1221, 216, 360]
    everything = torch.bincount(torch.from_numpy(load_digits().target))
    assert torch.equal(sum(torch.bincount(part) for part in labels), everything)
    for part in labels:
        share = torch.bincount(part) / everything
        assert share.max() - share.min() < 0.02


def test_the_test_images_are_the_same_whatever_the_seed_and_the_validation_images_are_not() -> None:
    first, second = Digits(seed=0, image_size=8), Digits(seed=1, image_size=8)
    for data in (first, second):
        data.setup()
    assert pixels(first.test_dataloader()) == pixels(second.test_dataloader())
    assert pixels(first.val_dataloader()) != pixels(second.val_dataloader())
    assert pixels(first.test_dataloader()).isdisjoint(pixels(first.train_dataloader()) | pixels(first.val_dataloader()))


def test_at_8_by_8_the_images_are_the_originals() -> None:
    data = Digits(image_size=8)
    source = data.load("test").source
    originals = {(image * (255 / 16)).round().astype("uint8").tobytes() for image in load_digits().images}
    assert all(image.numpy().tobytes() in originals for image in source.images)


@pytest.mark.parametrize("size", [8, 28, 33])
def test_properties_before_setup_are_those_of_the_batches(size: int) -> None:
    data = Digits(image_size=size)
    assert (data.in_channels, data.image_size, data.num_classes) == (1, (size, size), 10)
    mean, std = data.mean, data.std
    pixels = data.load("train").source.images.double() / 255
    assert mean == pytest.approx((pixels.mean().item(),))
    assert std == pytest.approx((((pixels - pixels.mean()) ** 2).mean().sqrt().item(),))
    data.setup("test")
    assert next(iter(data.test_dataloader()))[0].shape == (128, 1, size, size)


def test_predict_yields_the_test_images_with_their_index_as_name() -> None:
    data = Digits(image_size=8, eval_batch_size=100)
    data.setup("predict")
    assert data.predict_names == [str(index) for index in range(360)]
    batches = list(data.predict_dataloader())
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 60]
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.load("test").labels)


def test_a_seed_of_the_split_fixes_the_validation_images_and_leaves_the_batches_to_the_other() -> None:
    made = [Digits(seed=seed, split_seed=split, image_size=8) for seed, split in ((0, 5), (1, 5), (5, None), (0, None))]
    for data in made:
        data.setup("fit")
    one, other, plain, without = made
    assert pixels(one.val_dataloader()) == pixels(other.val_dataloader()) == pixels(plain.val_dataloader())
    assert pixels(one.val_dataloader()) != pixels(without.val_dataloader())
    first = [next(iter(data.train_dataloader()))[0] for data in (one, other)]
    assert not torch.equal(*first)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100", "Digits", "FashionMNIST", "ImageFolder", "MNIST"])
def test_every_class_of_images_takes_a_seed_of_the_split(name: str) -> None:
    kind = getattr(room, name)
    assert kind(split_seed=7).split_seed == 7
    assert kind().split_seed is None
    with pytest.raises(UserError, match="split_seed must be at least 0, got -1"):
        kind(split_seed=-1)


def test_without_a_seed_that_of_seed_everything_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("PL_GLOBAL_SEED", None)
    assert Digits().resolved_seed == 0
    seed_everything(11, verbose=False)
    assert Digits().resolved_seed == 11
    assert Digits(seed=0).resolved_seed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"eval_batch_size": -1}, "eval_batch_size must be at least 1, got -1"),
        ({"val_size": 0}, "val_size must be a fraction between 0 and 1 or a count of images, got 0"),
        ({"val_size": 1.5}, "val_size must be a fraction between 0 and 1 or a count of images, got 1.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"shift": -1}, "shift must be at least 0 pixels, got -1"),
        ({"image_size": 0}, "image_size must be at least 1 pixel, got 0"),
    ],
)
def test_an_argument_out_of_range_is_one_clear_line(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Digits(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_validation_split_larger_than_the_training_set_is_refused_when_it_is_drawn() -> None:
    with pytest.raises(UserError, match="val_size=2000 holds out 2000 of 1437 images"):
        Digits(val_size=2000).setup("fit")


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ImageData()  # type: ignore[abstract, call-arg]


def test_what_is_written_into_one_s_images_is_in_no_other_s() -> None:
    first = Digits(image_size=8).load("train").source
    before = first.images.clone(), first.labels.clone()
    first.images.zero_()
    first.labels.zero_()
    second = Digits(image_size=8).load("train").source
    assert all(torch.equal(a, b) for a, b in zip(before, (second.images, second.labels), strict=True))
    assert second.images.any()
