"""Whether what was exported computes what PyTorch does, on real images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_adaptconv.errors import UserError

TOLERANCE = 1e-4
"""Largest difference of a logit that is rounding."""

Batch = tuple[Tensor, Tensor]
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Agreement:
    """What was exported beside PyTorch, on the same images.

    Attributes:
        images: Number of images.
        largest_difference: Largest difference of a logit.
        accuracy: Accuracy of what was exported.
        torch_accuracy: Accuracy of PyTorch.
    """

    images: int
    largest_difference: float
    accuracy: float
    torch_accuracy: float

    def check(self, runtime: str) -> None:
        """Check that the difference is rounding.

        Raises:
            UserError: It is larger, or not a number.
        """
        if not self.largest_difference <= TOLERANCE:
            raise UserError(
                f"logits of {runtime} differ from PyTorch's by up to {self.largest_difference:.1e}, which is more than "
                f"{TOLERANCE:g}: nothing was written"
            )


def compare(run: Run, network: nn.Module, batches: Iterable[Batch], images: int | None = None) -> Agreement:
    """Run images through both.

    Args:
        run: What was exported: images `(N, C, H, W)` to logits `(N, num_classes)`, for any N.
        network: The network, in evaluation mode.
        batches: Images and labels; the first image goes by itself, so that more than one N is tried.
        images: How many images to take; None takes all.

    Raises:
        UserError: There are no images.
    """
    count, difference, right, torch_right = 0, 0.0, 0, 0
    with torch.inference_mode():
        for inputs, labels in _first_alone(batches):
            inputs, labels = (t if images is None else t[: images - count] for t in (inputs, labels))
            if len(inputs) == 0:
                break
            ours, theirs = run(inputs), network(inputs)
            apart = (ours - theirs).abs().max().item()
            difference = apart if apart != apart else max(difference, apart)  # NaN stays
            right += int((ours.argmax(1) == labels).sum())
            torch_right += int((theirs.argmax(1) == labels).sum())
            count += len(inputs)
            if difference != difference:
                break
    if count == 0:
        raise UserError("there are no test images to compare the exported network with PyTorch on")
    return Agreement(count, difference, right / count, torch_right / count)


def _first_alone(batches: Iterable[Batch]) -> Iterator[Batch]:
    for number, (images, labels) in enumerate(batches):
        if number == 0:
            yield images[:1], labels[:1]
            images, labels = images[1:], labels[1:]
        if len(images):
            yield images, labels
