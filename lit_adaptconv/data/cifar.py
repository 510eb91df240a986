"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Literal

import torch
from torch import nn

from lit_adaptconv.data.published import PublishedImages
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.errors import UserError

NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class CIFAR10(PublishedImages):
    """60,000 colour images, 32×32, in ten classes: 50,000 to train and validate with, 10,000 to test with.

    Source: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.

    Args:
        root: the folder that holds `cifar-10-batches-py` (the Python version, unpacked).
        batch_size: images per training batch and process.
        val_size: images held out for validation: below 1 a fraction of the training images, from 1 on a count.
        seed: seed of the validation split, the order of the batches and their augmentation; None: that of
            `lightning.seed_everything`, or 0 if none was set.
        split_seed: seed of the validation split alone; None: `seed`.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        flip: whether a training image is mirrored left to right half of the time.
        transforms: further augmentation of training images, such as `torchvision.transforms.v2.RandAugment`; see
            `ImageData`.
        drop_last: whether an incomplete last training batch is left out.
        download: whether files that are missing are fetched.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range; later, files are missing, truncated or of another kind.
    """

    dataset = "CIFAR10"
    in_channels = 3
    image_size = (32, 32)
    class_names: ClassVar[list[str]] = NAMES.split()
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        val_size: int | float = 5000,
        seed: int | None = None,
        shift: int = 4,
        flip: bool = True,
        drop_last: bool = False,
        download: bool = False,
        eval_batch_size: int | None = None,
        split_seed: int | None = None,
        transforms: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(
            root, batch_size, val_size, seed, shift, flip, drop_last, download, eval_batch_size, split_seed, transforms
        )

    def load(self, part: Literal["train", "test"]) -> Split:
        """Read the images and labels of one part.

        Raises:
            UserError: a file is missing, or its MD5 sum is not that of the original.
        """
        known = self._torchvision()
        wanted, other = ("train_list", "test_list") if part == "train" else ("test_list", "train_list")
        sums = dict(getattr(known, wanted))
        files = self._find(known.base_folder, sums)
        # torchvision would also ask for the files of the other part, and for one that names the classes
        reader = type(self.dataset, (known,), {other: [], "_load_meta": lambda _: None})
        try:
            read = reader(self.root, train=part == "train")  # compares the MD5 sums before it unpickles
        except RuntimeError as error:
            for file in files:
                found = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
                if found != sums[file.name]:
                    raise UserError(
                        f"{file}: truncated or not the original, the MD5 sum of its {file.stat().st_size:,} bytes is "
                        f"{found}, expected {sums[file.name]}"
                    ) from error
            raise
        images = torch.from_numpy(read.data).permute(0, 3, 1, 2)
        return Split.whole(ResidentImages(images, torch.tensor(read.targets)))


class CIFAR100(CIFAR10):
    """60,000 colour images, 32×32, in a hundred classes: 50,000 to train and validate with, 10,000 to test with.

    The fine labels, in the folder `cifar-100-python`; arguments, errors and source are those of `CIFAR10`.
    """

    dataset = "CIFAR100"
    class_names: ClassVar[list[str]] = FINE_NAMES.split()
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
