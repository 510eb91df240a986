"""MNIST and Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from lit_adaptconv.data.published import PublishedImages
from lit_adaptconv.data.source import ResidentImages, Split
from lit_adaptconv.errors import UserError

CLOTHES = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"


class MNIST(PublishedImages):
    """70,000 grey handwritten digits, 28×28: 60,000 to train and validate with, 10,000 to test with.

    `root` holds `MNIST/raw/train-images-idx3-ubyte` and its three companions, uncompressed. Source: LeCun, Bottou,
    Bengio and Haffner, *Gradient-Based Learning Applied to Document Recognition*, 1998.
    """

    dataset = "MNIST"
    in_channels = 1
    image_size = (28, 28)
    class_names: ClassVar[list[str]] = [str(digit) for digit in range(10)]
    mean = (0.1307,)
    std = (0.3081,)

    def load(self, part: Literal["train", "test"]) -> Split:
        """Read the images and labels of one part from its two files.

        Raises:
            UserError: a file is missing, truncated, or not what its name says.
        """
        from torchvision.datasets.mnist import read_image_file, read_label_file  # takes a second to import

        prefix = "train" if part == "train" else "t10k"
        names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        image_file, label_file = self._find(f"{self.dataset}/raw", names)
        images, labels = _read(read_image_file, image_file), _read(read_label_file, label_file)
        if tuple(images.shape[1:]) != self.image_size:
            raise UserError(f"{image_file}: holds images of {images.shape[1]}×{images.shape[2]}, expected 28×28")
        if not len(images) == len(labels) > 0:
            raise UserError(f"{label_file}: holds {len(labels):,} labels for the {len(images):,} images beside it")
        if (largest := int(labels.max())) >= self.num_classes:
            raise UserError(f"{label_file}: holds the label {largest}, expected 0 to {self.num_classes - 1}")
        return Split.whole(ResidentImages(images[:, None], labels))


class FashionMNIST(MNIST):
    """70,000 grey images of clothing, 28×28, in ten classes: a drop-in for MNIST that is harder.

    Files and errors are those of `MNIST`, in the folder `FashionMNIST/raw`. Source: Xiao, Rasul and Vollgraf,
    *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*, 2017.
    """

    dataset = "FashionMNIST"
    class_names: ClassVar[list[str]] = CLOTHES.split(", ")
    mean = (0.2860,)
    std = (0.3530,)


def _read(read: Callable[[str], Tensor], path: Path) -> Tensor:
    """Read a file as torchvision does, whose errors do not name it."""
    try:
        return read(str(path))
    except Exception as error:  # what foreign bytes raise is torchvision's affair
        reason = " ".join(str(error).split()) or type(error).__name__
        size = path.stat().st_size
        raise UserError(f"{path}: truncated or not the original, {size:,} bytes cannot be read ({reason})") from error
