"""What the published data sets share: torchvision fetches and reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from lit_adaptconv.data.base import ImageData
from lit_adaptconv.errors import UserError


class PublishedImages(ImageData):
    """Images of one size that torchvision knows by the name `dataset`.

    Args:
        root: the folder that holds the data set's own folder, as torchvision lays it out.
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
        download: whether files that are missing are fetched.
        eval_batch_size: images per batch in evaluation; None: `batch_size`.

    Raises:
        UserError: an argument is out of its range; later, files are missing, truncated or of another kind.
    """

    dataset: ClassVar[str]

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        val_size: int | float = 5000,
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
        self.root = root
        self.download = download

    def prepare_data(self) -> None:
        """Fetch what is missing, where that is asked for.

        Raises:
            UserError: it cannot be fetched or written.
        """
        if self.download:
            try:
                self._torchvision()(self.root, download=True)
            except (RuntimeError, OSError) as error:
                reason = " ".join(str(error).split())
                raise UserError(f"{self.dataset} could not be downloaded into {self.root}: {reason}") from error

    def _torchvision(self) -> Any:
        """Return torchvision's class of this data set."""
        from torchvision import datasets  # takes a second to import

        return getattr(datasets, self.dataset)

    def _find(self, folder: str, files: Iterable[str]) -> list[Path]:
        """Return where files of a folder below `root` are.

        Raises:
            UserError: some are missing; says which, where, and which command fetches them.
        """
        paths = [Path(self.root, folder, file) for file in files]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise UserError(
                f"{self.dataset} not found: {paths[0].parent} holds no {', no '.join(missing)}; `adaptconv fit "
                f"--data {self.dataset} --data.root {self.root} --data.download true` fetches it"
            )
        return paths
