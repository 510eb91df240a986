"""Images that are decoded when they are asked for, by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lit_adaptconv.data.decode import Encoded, Pixels, decode, naming_all_broken
from lit_adaptconv.data.order import generator
from lit_adaptconv.errors import UserError

Sample = tuple[Tensor, int]


class StreamedImages:
    """Images too many for memory, scaled to cover the size and cropped at the centre.

    Args:
        images: the images.
        labels: class indices, int64, shape (N,); -1 where unknown.
        pixels: what they are turned into.
        num_workers: processes that decode; 0: this one does.
        random_crops: whether in training a random part of the image, 8 % to all of its area at a ratio of 3/4 to 4/3,
            is scaled to the size instead (the crop of Szegedy et al., *Going Deeper with Convolutions*, 2015); it
            depends on (seed, epoch, image) alone.
    """

    def __init__(
        self, images: Sequence[Encoded], labels: Tensor, pixels: Pixels, num_workers: int, random_crops: bool
    ) -> None:
        self.images = images
        self.labels = labels
        self.pixels = pixels
        self.num_workers = num_workers
        self.random_crops = random_crops

    def fetch(
        self, indices: Tensor, edges: Sequence[int], key: tuple[int, int] | None, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches; see `ImageSource.fetch`.

        Raises:
            UserError: an image cannot be decoded.
        """
        loader = DataLoader(
            Decoded(self.images, self.labels, self.pixels, key if self.random_crops else None),
            batch_sampler=[indices[begin:end].tolist() for begin, end in pairwise(edges)],
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own, so that starting workers leaves the global random state alone
        )
        for batch in loader:
            if isinstance(batch, UserError):
                with naming_all_broken(self.images):
                    raise batch
            images, labels = batch
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class Decoded(Dataset[Sample | UserError]):
    """Decodes one image; gives an error back rather than raising it, which a worker would bury in its traceback."""

    def __init__(self, images: Sequence[Encoded], labels: Tensor, pixels: Pixels, key: tuple[int, int] | None) -> None:
        from torchvision.transforms import v2  # takes a second to import

        self.images = images
        self.labels = labels
        self.pixels = pixels
        self.key = key
        self.crop = v2.RandomResizedCrop((pixels.height, pixels.width)) if key else None

    def __getitem__(self, index: int) -> Sample | UserError:
        state = torch.get_rng_state()
        try:
            if self.key is not None:  # torchvision's transforms draw from the global generator
                torch.set_rng_state(generator(*self.key, 0, 1 + index).get_state())
            return torch.from_numpy(decode(self.images[index], self.pixels, self.crop).copy()), int(self.labels[index])
        except UserError as error:
            return error
        finally:
            torch.set_rng_state(state)


def collate(samples: Sequence[Sample | UserError]) -> tuple[Tensor, Tensor] | UserError:
    """Stack a batch, or return its first error."""
    images, labels = [], []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        images.append(sample[0])
        labels.append(sample[1])
    return torch.stack(images), torch.tensor(labels, dtype=torch.int64)
