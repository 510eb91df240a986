"""MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.data.download import download_dataset, require_files
from lit_adaptconv.data.idx import read_idx
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.errors import UserError

PREFIXES = {"train": "train", "test": "t10k"}


class MNIST(ImageData):
    """70,000 grey handwritten digits, 28×28: 60,000 to train and validate with, 10,000 to test with.

    Source: LeCun, Bottou, Bengio and Haffner, *Gradient-Based Learning Applied to Document Recognition*, 1998.

    Args:
        root: the folder that holds `MNIST/raw/train-images-idx3-ubyte` and its three companions.
        batch_size: images per training batch and process.
        val_size: images held out for validation: a fraction of the training images below 1, a count from 1 on.
        seed: what the validation split, the order of the batches and their augmentation are drawn from; None: the seed
            of `lightning.seed_everything`, or 0 where none was set.
        shift: the largest random translation of a training image in pixels; uncovered pixels are black.
        drop_last: whether an incomplete last training batch is left out.
        download: whether files that are missing are fetched.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range; later, files are missing, truncated or of another kind.
    """

    in_channels = 1
    image_size = (28, 28)
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    mean = (0.1307,)
    std = (0.3081,)

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        val_size: int | float = 5000,
        seed: int | None = None,
        shift: int = 0,
        drop_last: bool = False,
        download: bool = False,
        eval_batch_size: int | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            val_size=val_size,
            seed=seed,
            shift=shift,
            flip=False,
            drop_last=drop_last,
            eval_batch_size=eval_batch_size,
        )
        self.root = root
        self.download = download

    @property
    def folder(self) -> Path:
        """Where the four files are."""
        return Path(self.root) / type(self).__name__ / "raw"

    def prepare_data(self) -> None:
        """Fetch what is missing, where that is asked for."""
        if self.download:
            download_dataset(type(self).__name__, self.root)

    def load(self, part: Literal["train", "test"]) -> Split:
        """Read the images and labels of one part from its two files.

        Raises:
            UserError: a file is missing, truncated, or not what its name says.
        """
        names = [f"{PREFIXES[part]}-images-idx3-ubyte", f"{PREFIXES[part]}-labels-idx1-ubyte"]
        require_files(type(self).__name__, self.root, self.folder, names)
        image_file, label_file = (self.folder / name for name in names)
        images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        if tuple(images.shape[1:]) != self.image_size:
            raise UserError(f"{image_file}: holds images of {images.shape[1]}×{images.shape[2]}, expected 28×28")
        if len(images) != len(labels) or not len(labels):
            raise UserError(f"{label_file}: holds {len(labels):,} labels for the {len(images):,} images beside it")
        if (largest := int(labels.max())) >= self.num_classes:
            raise UserError(f"{label_file}: holds the label {largest}, expected 0 to {self.num_classes - 1}")
        return Split.whole(ResidentImages(images[:, None], labels.long()))


class FashionMNIST(MNIST):
    """70,000 grey images of clothing, 28×28, in ten classes: a drop-in for MNIST that is harder.

    Files, arguments and errors are those of `MNIST`, in the folder `FashionMNIST/raw`. Source: Xiao, Rasul and
    Vollgraf, *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*, 2017.
    """

    class_names: ClassVar[list[str]] = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    mean = (0.2860,)
    std = (0.3530,)
