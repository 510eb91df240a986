import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lit_adaptconv.data import Digits
from lit_adaptconv.data.augment import Transforms, drawing_from
from lit_adaptconv.data.loader import BatchLoader
from lit_adaptconv.data.order import BatchOrder
from lit_adaptconv.data.preprocess import Preprocess
from lit_adaptconv.data.source import ResidentImages
from lit_adaptconv.errors import UserError

CPU = torch.device("cpu")
ALL = [
    v2.RandomCrop(16, padding=2),
    v2.RandomHorizontalFlip(),
    v2.RandAugment(),
    v2.TrivialAugmentWide(),
    v2.RandomErasing(p=0.9),
    v2.RandomChoice([v2.MixUp(alpha=0.8), v2.CutMix()]),
]


def pictures(count: int = 32, channels: int = 3) -> Tensor:
    numbers = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, 16, 16), dtype=torch.uint8, generator=numbers)


def loader(transforms: Sequence[nn.Module], seed: int = 0, count: int = 32, batch_size: int = 8) -> BatchLoader:
    order = BatchOrder(count, batch_size=batch_size, seed=seed, shuffle=True)
    preprocess = Preprocess((0.4,) * 3, (0.2,) * 3, 1, True, CPU, Transforms(transforms, 10))
    source = ResidentImages(pictures(count), torch.arange(count) % 10)
    return BatchLoader(source, torch.arange(count), order, preprocess, CPU)


def same(one: Sequence[tuple[Tensor, Tensor]], other: Sequence[tuple[Tensor, Tensor]]) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("transform", [*ALL[:5], v2.RandomRotation(90), v2.ColorJitter(0.5)], ids=str)
def test_each_image_has_its_own_draw(transform: nn.Module) -> None:
    images = pictures(1).expand(64, -1, -1, -1)
    transforms = Transforms([transform], 10)
    with drawing_from(1, CPU):
        changed = transforms.change_pixels(images)
        changed, _ = transforms.change_normalised(changed.float(), torch.zeros(64, dtype=torch.int64))
    different = {image.numpy().tobytes() for image in changed}
    assert len(different) == 2 if isinstance(transform, v2.RandomHorizontalFlip) else len(different) > 8
    assert torch.equal(images, pictures(1).expand(64, -1, -1, -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "transform",
    [
        v2.RandAugment(),
        v2.RandAugment(num_ops=3, magnitude=20, fill=7),
        v2.RandAugment(num_ops=0),
        v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR),
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        v2.AugMix(),
    ],
    ids=str,
)
def test_images_that_drew_the_same_together_end_as_each_does_alone(transform: nn.Module, channels: int) -> None:
    images = pictures(48, channels)
    with drawing_from(3, CPU):
        together = Transforms([transform], 10).change_pixels(images)
    with drawing_from(3, CPU):
        alone = torch.stack([transform(image) for image in images])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("mixing", [v2.MixUp(alpha=1.0), v2.CutMix(alpha=1.0)], ids=str)
def test_labels_are_the_shares_of_the_images_that_were_mixed(mixing: nn.Module) -> None:
    labels = torch.arange(10).repeat(2)
    images = nn.functional.one_hot(labels, 10).float()[:, :, None, None].expand(-1, -1, 16, 16)  # a channel a class
    with drawing_from(0, CPU):
        mixed, shares = Transforms([mixing], 10).change_normalised(images.clone(), labels)
    torch.testing.assert_close(mixed.mean((2, 3)), shares)
    torch.testing.assert_close(shares.sum(1), torch.ones(20))
    assert (shares.count_nonzero(1) == 2).all()


def test_labels_are_probabilities_in_every_batch_even_where_mixing_is_left_out() -> None:
    batches = list(loader([v2.RandomApply([v2.MixUp()], p=0.5)], count=64, batch_size=4))
    assert all(labels.shape == (4, 10) and labels.dtype == torch.float32 for _, labels in batches)
    whole = [bool(((labels == 0) | (labels == 1)).all()) for _, labels in batches]
    assert {True, False} == set(whole)


def test_batches_depend_on_seed_epoch_and_number_alone_and_leave_every_global_generator_alone() -> None:
    class Noisy(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            image[0, 0, 0] = random.randrange(256)
            image[0, 0, 1] = np.random.randint(256)  # noqa: NPY002
            return image

    def states() -> list[object]:
        return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # type: ignore[index]  # noqa: NPY002

    transforms = [Noisy(), *ALL]
    made = loader(transforms)
    epochs = [list(made), list(made)]
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = states()
    again = loader(transforms)
    assert same(list(again), epochs[0])
    assert states() == before
    assert same(list(again), epochs[1])
    assert not any(same([a], [b]) for a in epochs[0] for b in [*epochs[1], *loader(transforms, seed=1)])
    for taken in range(1, 4):
        resumed = loader(transforms)
        resumed.load_state_dict({"epoch": 1, "batch": taken, "batches": 4})
        assert same(list(resumed), epochs[1][taken:])


def test_shift_and_flip_are_drawn_as_without_transforms() -> None:
    identity = [batch[0] for batch in loader([nn.Identity()])]
    without = [batch[0] for batch in loader([])]
    assert all(torch.equal(a, b) for a, b in zip(identity, without, strict=True))


def test_batches_that_are_planned_and_made_for_several_are_those_that_each_makes() -> None:
    loaders = [loader(ALL, seed) for seed in range(3)]
    planned = [list(each.planned()) for each in loaders]
    for number, alone in enumerate(zip(*(loader(ALL, seed) for seed in range(3)), strict=True)):
        images, labels = loaders[0].make([each[number] for each in planned])
        assert torch.equal(images, torch.cat([batch[0] for batch in alone]))
        assert torch.equal(labels, torch.cat([batch[1] for batch in alone]))


def test_only_training_images_are_transformed() -> None:
    plain, changing = Digits(seed=0), Digits(seed=0, transforms=[v2.RandomErasing(p=1), v2.MixUp()])
    for data in (plain, changing):
        data.setup()
    for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        assert same(list(getattr(plain, name)()), list(getattr(changing, name)()))
    assert same(list(plain.calibration_dataloader(20)), list(changing.calibration_dataloader(20)))
    images, labels = next(iter(changing.train_dataloader()))
    assert labels.shape == (len(images), 10)


@pytest.mark.parametrize(
    ("transforms", "line"),
    [
        ([v2.MixUp(), v2.RandAugment()], "RandAugment changes pixels, so it must stand before MixUp"),
        ([v2.RandomErasing(), v2.RandomCrop(16)], "RandomCrop changes pixels, so it must stand before RandomErasing"),
        ([v2.CutMix(), v2.RandomErasing()], "RandomErasing acts on normalised images, so it must stand before CutMix"),
        ([v2.Compose([v2.RandAugment(), v2.MixUp()])], "Compose holds one that changes pixels and one that mixes"),
        ([v2.RandomApply([v2.RandomErasing(), v2.RandAugment()])], "give them one by one"),
        ([v2.MixUp(num_classes=7)], "MixUp was given num_classes 7, the data have 10"),
        ([v2.RandomCrop(8)], r"RandomCrop must keep images torch.uint8 of shape \(3, 16, 16\), got .*\(3, 8, 8\)"),
        ([v2.ToDtype(torch.float32, scale=True)], "ToDtype must keep images torch.uint8 .*, got torch.float32"),
        ([v2.Normalize([0.5], [0.5])], "transforms: Normalize: "),
        ([v2.FiveCrop(16)], "FiveCrop must keep images"),
        ([v2.RandomCrop(40)], "transforms: RandomCrop: "),
        ([v2.RandomErasing(value=(1, 2))], "transforms: RandomErasing: "),
        (["RandAugment"], "transforms must be modules, such as .*, got 'RandAugment'"),
    ],
)
def test_transforms_that_cannot_be_are_told_in_one_line(transforms: list[nn.Module], line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        list(loader(transforms))
    assert "\n" not in str(caught.value)
