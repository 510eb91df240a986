"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.data.download import download_dataset, require_files
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.errors import UserError

FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class CIFAR10(ImageData):
    """60,000 colour images, 32×32, in ten classes: 50,000 to train and validate with, 10,000 to test with.

    Source: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.

    Args:
        root: the folder that holds `cifar-10-batches-py` (the Python version, unpacked).
        batch_size: images per training batch and process.
        val_size: images held out for validation: a fraction of the training images below 1, a count from 1 on.
        seed: what the validation split, the order of the batches and their augmentation are drawn from; None: the seed
            of `lightning.seed_everything`, or 0 where none was set.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        flip: whether a training image is mirrored left to right half of the time.
        drop_last: whether an incomplete last training batch is left out.
        download: whether files that are missing are fetched.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range; later, files are missing, truncated or of another kind.
    """

    in_channels = 3
    image_size = (32, 32)
    class_names: ClassVar[list[str]] = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
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
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            shift=shift,
            flip=flip,
            drop_last=drop_last,
            eval_batch_size=eval_batch_size,
        )
        self.root = root
        self.download = download

    def prepare_data(self) -> None:
        """Fetch what is missing, where that is asked for."""
        if self.download:
            download_dataset(type(self).__name__, self.root)

    def load(self, part: Literal["train", "test"]) -> Split:
        """Read the images and labels of one part.

        Raises:
            UserError: a file is missing, or its MD5 sum is not that of the original.
        """
        from torchvision import datasets  # takes a second to import

        known = getattr(datasets, type(self).__name__)
        folder = Path(self.root) / known.base_folder
        sums: dict[str, str] = dict(known.train_list if part == "train" else known.test_list)
        require_files(type(self).__name__, self.root, folder, list(sums))
        pixels, labels = [], []
        for name, expected in sums.items():
            content = (folder / name).read_bytes()
            # checked before unpickling, which would run whatever a foreign file says
            if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != expected:
                raise UserError(
                    f"{folder / name}: truncated or not the original, the MD5 sum of its {len(content):,} bytes is "
                    f"{found}, expected {expected}"
                )
            batch = pickle.loads(content, encoding="latin1")
            pixels.append(batch["data"])
            labels.extend(batch["labels" if "labels" in batch else "fine_labels"])
        images = torch.from_numpy(np.concatenate(pixels).reshape(-1, 3, 32, 32))
        return Split.whole(ResidentImages(images, torch.tensor(labels, dtype=torch.int64)))


class CIFAR100(CIFAR10):
    """60,000 colour images, 32×32, in a hundred classes: 50,000 to train and validate with, 10,000 to test with.

    The fine labels, in the folder `cifar-100-python`; arguments, errors and source are those of `CIFAR10`.
    """

    class_names: ClassVar[list[str]] = FINE_NAMES.split()
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
