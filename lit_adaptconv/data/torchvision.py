"""The classification sets that torchvision reads."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.data.decode import Pixels, checked_channels, checked_size, on_all_cores, pixels_like, to_array
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.data.split import stratified_split
from lit_adaptconv.errors import UserError, cause_of


class Parts(NamedTuple):
    """What torchvision's class is given for the images to train and validate with, and for those to test with.

    Attributes:
        train: the arguments; where there are several, their images are put together.
        test: the arguments; None where the set has no labelled test images.
    """

    train: tuple[dict[str, Any], ...]
    test: dict[str, Any] | None


def _split(*train: str, test: str) -> Parts:
    return Parts(tuple({"split": name} for name in train), {"split": test})


TRAIN = Parts(({"train": True},), {"train": False})
SPLIT = _split("train", test="test")
THREE = _split("train", "val", test="test")
TO_VALIDATE = _split("train", test="val")
WHOLE = Parts(({},), None)

SETS = {
    "Caltech101": WHOLE,
    "Caltech256": WHOLE,
    "CIFAR10": TRAIN,
    "CIFAR100": TRAIN,
    "CLEVRClassification": TO_VALIDATE,
    "Country211": _split("train", "valid", test="test"),
    "DTD": THREE,
    "EMNIST": TRAIN,
    "EuroSAT": WHOLE,
    "FashionMNIST": TRAIN,
    "FER2013": SPLIT,
    "FGVCAircraft": _split("trainval", test="test"),
    "Flowers102": THREE,
    "Food101": SPLIT,
    "GTSRB": SPLIT,
    "ImageNet": TO_VALIDATE,
    "Imagenette": TO_VALIDATE,
    "INaturalist": Parts(({"version": "2021_train"},), {"version": "2021_valid"}),
    "KMNIST": TRAIN,
    "MNIST": TRAIN,
    "Omniglot": Parts(({"background": True},), None),  # the other alphabets would be other classes
    "OxfordIIITPet": _split("trainval", test="test"),
    "PCAM": THREE,
    "Places365": _split("train-standard", test="val"),
    "QMNIST": TRAIN,
    "RenderedSST2": THREE,
    "SEMEION": WHOLE,
    "StanfordCars": SPLIT,
    "STL10": SPLIT,
    "SUN397": WHOLE,
    "SVHN": SPLIT,
    "USPS": TRAIN,
}
"""Every set of torchvision whose images have one label each, and the parts that it is read in."""

NEEDED: dict[str, dict[str, Any]] = {"EMNIST": {"split": "balanced"}}
"""Arguments for which torchvision has no value of its own."""


class Torchvision(ImageData):
    """Any classification set that torchvision reads, by its name there, such as `SVHN`, `Food101` or `GTSRB`.

    torchvision's own class finds, checks and decodes the files; the images are then kept in memory. A part that
    torchvision calls `val` is used to train and validate if there is also a test part, and is the test part if there is
    none. If a set has neither (Caltech101, Caltech256, EuroSAT, Omniglot, SEMEION, SUN397), a fifth of it is the test
    set, stratified and the same for every seed. CelebA, LFWPeople and LSUN are left out: their images have several
    labels, are often the only one with their label, or are in a database.

    Args:
        name: the set.
        root: the folder, passed to torchvision's class as its `root`.
        image_size: the size in pixels (both sides, or height and width) to which images are scaled and cropped; None:
            they all have the size of the first.
        in_channels: 1 (grey) or 3 (colour); None: as the first image.
        options: further arguments of torchvision's class, such as `{split: letters}` of `EMNIST`.
        batch_size: images per training batch and process.
        val_size: images held out for validation: below 1 a fraction of the training images, from 1 on a count.
        seed: seed of the validation split, the order of the batches and their augmentation; None: that of
            `lightning.seed_everything`, or 0 if none was set.
        split_seed: seed of the validation split alone; None: `seed`.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        flip: whether a training image is mirrored left to right half of the time: wrong for writing.
        transforms: further augmentation of training images, such as `torchvision.transforms.v2.RandAugment`; see
            `ImageData`.
        drop_last: whether an incomplete last training batch is left out.
        download: whether torchvision fetches files that are missing.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range; later, files are missing or damaged, or images differ in size.
    """

    def __init__(
        self,
        name: str,
        root: str = "data",
        image_size: int | tuple[int, int] | None = None,
        in_channels: int | None = None,
        options: dict[str, Any] | None = None,
        batch_size: int = 128,
        val_size: int | float = 0.1,
        seed: int | None = None,
        shift: int = 0,
        flip: bool = False,
        drop_last: bool = False,
        download: bool = False,
        eval_batch_size: int | None = None,
        split_seed: int | None = None,
        transforms: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            shift=shift,
            flip=flip,
            drop_last=drop_last,
            eval_batch_size=eval_batch_size,
            split_seed=split_seed,
            transforms=transforms,
        )
        if name not in SETS:
            raise UserError(f"torchvision has no classification set {name!r}; known: {', '.join(SETS)}")
        self._image_size = checked_size(image_size)
        self._in_channels = checked_channels(in_channels)
        self.dataset = name
        self.root = root
        self.options = options or {}
        self.download = download

    @property
    def in_channels(self) -> int:
        """Channels of an image: 1 or 3."""
        return self._pixels.channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return (self._pixels.height, self._pixels.width)

    @property
    def class_names(self) -> list[str]:
        """The names that torchvision gives the classes, or else their labels."""
        return self._names

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the images that are not test images, where 1 is white."""
        return tuple(self._statistics[0])

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the images that are not test images, where 1 is white."""
        return tuple(self._statistics[1])

    def load(self, part: Literal["train", "test"]) -> Split:
        """Return the images of one part.

        Raises:
            UserError: files are missing or damaged, or an image has another size than the first.
        """
        fixed = SETS[self.dataset].test
        if part == "train" or fixed is None:
            return Split(self._pool_images, self._parted[0 if part == "train" else 1])
        images, labels = self._read([self._opened(fixed)])
        return Split.whole(ResidentImages(images, self._indices(labels)))

    @cached_property
    def _training_sets(self) -> list[Any]:
        sets = [self._opened(arguments) for arguments in SETS[self.dataset].train]
        if not all(map(len, sets)):
            raise UserError(f"{self.dataset} in {self.root} holds no images to train with")
        return sets

    @cached_property
    def _pixels(self) -> Pixels:
        with self._telling():
            first = self._training_sets[0][0][0]
            first.load()  # which closes its file
        return pixels_like(first, self._image_size, self._in_channels, bit_depth=0)

    @cached_property
    def _known_names(self) -> list[str] | None:
        """What torchvision calls the classes; None where it has numbers alone."""
        first = self._training_sets[0]
        found = next(
            (getattr(first, name) for name in ("classes", "categories", "all_categories") if _has(first, name)), None
        )
        if found is None:
            return None
        names = [", ".join(each) if isinstance(each, tuple) else str(each) for each in found]
        return [f"{name} ({label})" if names.count(name) > 1 else name for label, name in enumerate(names)]

    @cached_property
    def _names(self) -> list[str]:
        return self._known_names or [str(label) for label in self._numbers]

    @cached_property
    def _numbers(self) -> list[int]:
        """What torchvision's labels may be, in order."""
        return [*range(len(self._known_names))] if self._known_names else sorted(set(self._read_pool[1]))

    @cached_property
    def _read_pool(self) -> tuple[Tensor, list[int]]:
        """The images, and torchvision's labels, of all but a test part of its own."""
        _ = self._pixels, self._known_names
        read = self._read(self._training_sets)
        vars(self).pop("_training_sets")  # the images are not kept twice
        return read

    @cached_property
    def _pool_images(self) -> ResidentImages:
        images, labels = self._read_pool
        return ResidentImages(images, self._indices(labels))

    @cached_property
    def _parted(self) -> tuple[Tensor, Tensor]:
        """Indices of the images to train and validate with, and of those that are held out for the test."""
        labels = self._pool_images.labels
        if SETS[self.dataset].test is not None:
            return torch.arange(len(labels)), torch.arange(0)
        return stratified_split(labels, 0.2, seed=0, name=f"the test part of {self.dataset}")

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        return self._pool_images.statistics(self._parted[0])

    def _read(self, sets: Sequence[Any]) -> tuple[Tensor, list[int]]:
        """The images of torchvision's data sets, and their labels."""
        places = [(part, index) for part in sets for index in range(len(part))]
        images = np.empty((len(places), self.in_channels, *self.image_size), np.uint8)
        labels = []

        def read(place: tuple[Any, int]) -> tuple[np.ndarray, int]:
            part, index = place
            image, label = part[index]
            if label is None:
                raise UserError("there are no labels")
            return to_array(image, self._pixels, f"{self.dataset}, image {index}"), int(label)

        with self._telling():
            for number, (image, label) in enumerate(on_all_cores(read, places, f"reading {self.dataset}")):
                images[number] = image
                labels.append(label)
        return torch.from_numpy(images), labels

    def _indices(self, labels: Sequence[int]) -> Tensor:
        """The labels as indices of the classes.

        Raises:
            UserError: one is none of them.
        """
        index = {label: number for number, label in enumerate(self._numbers)}
        if unknown := sorted(set(labels) - index.keys()):
            raise UserError(f"{self.dataset} in {self.root} holds the label {unknown[0]}, which is no class of it")
        return torch.tensor([index[label] for label in labels], dtype=torch.int64)

    def _opened(self, arguments: dict[str, Any]) -> Any:
        """One part, as torchvision's own class."""
        from torchvision import datasets  # takes a second to import

        known = getattr(datasets, self.dataset)
        fetches = {"download": self.download} if _fetches(known) else {}
        if taken := self.options.keys() & {"root", "download", *arguments}:
            raise UserError(f"options of {self.dataset} cannot have {min(taken)!r}, which the parts are read by")
        given = {**NEEDED.get(self.dataset, {}), **arguments, **self.options, **fetches}
        with self._telling():
            return known(str(Path(self.root).expanduser()), **given)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what torchvision raises into one line that says what to do."""
        try:
            yield
        except UserError:
            raise
        except (RuntimeError, OSError) as error:
            doing = "downloaded into" if self.download else "read from"
            remedy = "" if self.download else f"; {self._remedy()}"
            raise UserError(f"{self.dataset} could not be {doing} {self.root}: {cause_of(error)}{remedy}") from error
        except Exception as error:  # what foreign bytes raise is torchvision's affair
            raise UserError(f"{self.dataset} in {self.root}: {cause_of(error)}") from error

    def _remedy(self) -> str:
        from torchvision import datasets

        name = self.dataset
        if not _fetches(getattr(datasets, name)):
            return f"torchvision does not fetch it; torchvision.datasets.{name} is documented with its files"
        options = f"--data Torchvision --data.name {name} --data.root {self.root} --data.download true"
        return f"`adaptconv fit {options}` fetches it"


def _has(dataset: Any, name: str) -> bool:
    return isinstance(getattr(dataset, name, None), (list, tuple))


def _fetches(known: type) -> bool:
    """Whether a class of torchvision has the argument `download`."""
    makers = (vars(each)["__init__"] for each in known.__mro__ if "__init__" in vars(each))
    return any("download" in inspect.signature(make).parameters for make in makers)
