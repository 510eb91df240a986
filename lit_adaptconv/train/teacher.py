"""Distillation: a trained network that another learns from."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.runs import CHECKPOINTS, CONFIG, best_weights, run_of_checkpoint


class Teacher:
    """A trained network that tells the class probabilities of images; frozen, in evaluation mode.

    It is no module: what holds it neither counts, trains, averages nor keeps its weights.

    Args:
        network: The network.
        temperature: What logits are divided by, the teacher's and the student's, before they become probabilities.

    Attributes:
        checksum: Of its weights.
    """

    def __init__(self, network: nn.Module, temperature: float) -> None:
        self.network = network.eval().requires_grad_(False)
        self.temperature = temperature
        self.checksum = 0
        for value in network.state_dict().values():
            self.checksum = zlib.crc32(value.contiguous().flatten().view(torch.uint8).numpy().tobytes(), self.checksum)

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        """Whoever copies the student has the same teacher."""
        return self

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """The cross-entropy of the student's probabilities with the teacher's, less the teacher's entropy.

        It is multiplied by the square of the temperature, by which its gradient is smaller than that of the loss on
        labels (Hinton et al., 2015).

        Args:
            images: Shape `(N, C, H, W)`.
            logits: The student's, of shape `(N, num_classes)`.
        """
        with torch.no_grad():
            taught = self.network(images)
        exact = torch.promote_types(logits.dtype, torch.float32)
        own, theirs = (F.log_softmax(each.to(exact) / self.temperature, dim=1) for each in (logits, taught))
        return F.kl_div(own, theirs, reduction="batchmean", log_target=True) * self.temperature**2


def load_teacher(path: str, num_classes: int, image_shape: tuple[int, ...], temperature: float) -> Teacher:
    """Load the network of a run of `adaptconv fit`.

    Args:
        path: The run's folder, for its best network (the last, where no other was kept); or a checkpoint in it.
        num_classes: Number of classes of the student.
        image_shape: Shape `(C, H, W)` of the student's images.
        temperature: See `Teacher`.

    Raises:
        UserError: It is neither, is damaged, or was trained on other classes or images.
    """
    from lit_adaptconv.train.loading import load_checkpoint  # which imports the student

    given = Path(path)
    if (given / CONFIG).is_file():
        given = best_weights(given) or given / CHECKPOINTS["last"]
    folder = run_of_checkpoint(given)
    if folder is None:
        raise UserError(f"teacher {path}: give the folder of a run of `adaptconv fit`, or a checkpoint in one")
    try:
        trained = load_checkpoint(folder, given)
        model = trained.image_classifier("distillation")[0]
    except UserError as error:
        raise UserError(f"teacher {path}: {error}") from error
    if model.num_classes != num_classes:
        raise UserError(f"teacher {path}: it knows {model.num_classes} classes, and the data have {num_classes}")
    if model.image_shape != image_shape:
        theirs, ours = ("×".join(map(str, shape)) for shape in (model.image_shape, image_shape))
        raise UserError(f"teacher {path}: it takes images of {theirs}, and the data have {ours}")
    return Teacher(model.network, temperature)
