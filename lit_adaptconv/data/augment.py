"""Augmentation by torchvision.transforms.v2, or modules like it, on batches."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lit_adaptconv.errors import UserError, told_in_one_line


class Transforms:
    """Transforms of training images, in three groups that must follow each other in this order.

    First those that change pixels: each gets one image at a time, uint8, shape (C, H, W), so that every image has its
    own draw, and returns its like. Then, once pixels are normalised, `RandomErasing`, also an image at a time: its
    value 0 is the mean of the images, as in torchvision's own recipes. Last `MixUp` and `CutMix`, which take a whole
    batch with its labels and turn these into probabilities, shape (B, number of classes).

    Args:
        transforms: the modules.
        num_classes: how many classes there are.

    Raises:
        UserError: the order is another, one holds transforms of several groups, or one was made for another number of
            classes.
    """

    def __init__(self, transforms: Sequence[nn.Module], num_classes: int) -> None:
        self.num_classes = num_classes
        groups = [_group(transform) for transform in transforms]
        for before, after, group, other in zip(transforms, transforms[1:], groups, groups[1:], strict=False):
            if group > other:
                raise UserError(f"transforms: {_name(after)} {GROUPS[other]}, so it must stand before {_name(before)}")
        self.pixels, self.normalised, self.mixing = (
            [transform for transform, group in zip(transforms, groups, strict=True) if group == wanted]
            for wanted in range(3)
        )
        for leaf in (leaf for transform in self.mixing for leaf in _leaves(transform)):
            if leaf.num_classes not in (None, num_classes):
                raise UserError(
                    f"transforms: {_name(leaf)} was given num_classes {leaf.num_classes}, the data have {num_classes}"
                )
            leaf.num_classes = num_classes  # type: ignore[assignment]

    def change_pixels(self, images: Tensor) -> Tensor:
        """Apply the first group to uint8 images, shape (B, C, H, W)."""
        return _image_by_image(self.pixels, images)

    def change_normalised(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the other groups to normalised images, shape (B, C, H, W), and their labels, int64, shape (B,)."""
        images = _image_by_image(self.normalised, images)
        for transform in self.mixing:
            with told_in_one_line(f"transforms: {_name(transform)}"):
                images, labels = transform(images, labels)
        if self.mixing and labels.ndim == 1:  # one in a container may be left out at random
            labels = nn.functional.one_hot(labels, self.num_classes).to(images.dtype)
        return images, labels


GROUPS = ("changes pixels", "acts on normalised images", "mixes images and labels")


def _group(transform: nn.Module) -> int:
    """The number of the group that a transform belongs to.

    Raises:
        UserError: it holds some of several.
    """
    from torchvision.transforms import v2  # takes a second to import

    if not isinstance(transform, nn.Module):
        raise UserError(
            f"transforms must be modules, such as torchvision.transforms.v2.RandAugment(), got {transform!r}"
        )
    found = {
        2 if isinstance(leaf, (v2.MixUp, v2.CutMix)) else 1 if isinstance(leaf, v2.RandomErasing) else 0
        for leaf in _leaves(transform)
    }
    if len(found) > 1:
        raise UserError(
            f"transforms: {_name(transform)} holds one that {GROUPS[min(found)]} and one that {GROUPS[max(found)]}: "
            "give them one by one"
        )
    return found.pop()


def _leaves(transform: nn.Module) -> Iterator[nn.Module]:
    """A transform, or what a container holds, at any depth."""
    inner = getattr(transform, "transforms", None)
    parts = list(inner) if isinstance(inner, (list, tuple, nn.ModuleList)) else list(transform.children())
    parts = [part for part in parts if isinstance(part, nn.Module)]
    if not parts:
        yield transform
    for part in parts:
        yield from _leaves(part)


def _image_by_image(transforms: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Apply transforms to each image by itself: on a batch, those of torchvision draw once for all of it.

    Raises:
        UserError: one fails, or what it makes has another shape or type.
    """
    for transform in transforms:
        with told_in_one_line(f"transforms: {_name(transform)}"):
            if _draws_operations(transform):
                images = _alike_together(transform, images)
                continue
            changed = [transform(image) for image in images]
        for image in changed:
            if not isinstance(image, Tensor) or image.shape != images.shape[1:] or image.dtype != images.dtype:
                got = (
                    f"{image.dtype} of shape {tuple(image.shape)}"
                    if isinstance(image, Tensor)
                    else type(image).__name__
                )
                raise UserError(
                    f"transforms: {_name(transform)} must keep images {images.dtype} of shape "
                    f"{tuple(images.shape[1:])}, got {got}"
                )
        images = torch.stack(changed)
    return images


APPLY = "_apply_image_or_video_transform"
"""The method by which torchvision's automatic augmentations do what they have drawn."""


def _draws_operations(transform: nn.Module) -> bool:
    """Whether a transform draws operations, and does them one after the other."""
    from torchvision.transforms import v2

    return type(transform) in (v2.RandAugment, v2.TrivialAugmentWide, v2.AutoAugment) and hasattr(transform, APPLY)


def _alike_together(transform: nn.Module, images: Tensor) -> Tensor:
    """Apply one of these, with the draws that each image would have alone: images that drew the same go together."""
    drawing, images = copy.copy(transform), images.clone()
    stand_in = images[0]
    drawn: list[list[tuple[str, float]]] = []

    def note(image: Tensor, operation: str, magnitude: float, **_: object) -> Tensor:
        drawn[-1].append((operation, magnitude))
        return image

    setattr(drawing, APPLY, note)
    for _ in images:
        drawn.append([])
        drawing(stand_in)
    given = {"interpolation": transform.interpolation, "fill": transform._fill}
    for place in range(max(map(len, drawn))):
        groups: dict[tuple[str, float], list[int]] = {}
        for number, each in enumerate(drawn):
            if place < len(each) and each[place][0] != "Identity":
                groups.setdefault(each[place], []).append(number)
        for (operation, magnitude), members in groups.items():
            images[members] = getattr(transform, APPLY)(images[members], operation, magnitude, **given)
    return images


@contextmanager
def drawing_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let whatever draws from the global generators inside draw from `seed`, and leave those as they were.

    These are PyTorch's on the CPU and, where that is a CUDA device, on `device`, NumPy's and Python's.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(
            torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
        )
    states = [generator.get_state() for generator in generators]
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    for generator in generators:
        generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def _name(transform: nn.Module) -> str:
    return type(transform).__name__
