"""Whether a checkpoint belongs to the network that it is to be loaded into, and old ones brought into today's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.base import stacked


def stack_kernels(checkpoint: Mapping[str, Any], module: nn.Module) -> None:
    """Bring a checkpoint in place from when stacks of kernels had five dimensions into today's form.

    Args:
        checkpoint: With the keys "state_dict" and, if a training can be continued from it, "optimizer_states".
        module: What it is to be loaded into.
    """
    parameters = dict(module.named_parameters())
    for name, value in checkpoint["state_dict"].items():
        if name in parameters:
            checkpoint["state_dict"][name] = stacked(value, parameters[name])
    shapes = {parameter.shape for parameter in parameters.values()}
    for optimizer in checkpoint.get("optimizer_states", ()):
        for of_parameter in optimizer["state"].values():
            for name, value in of_parameter.items():
                is_old = isinstance(value, Tensor) and value.dim() == 5 and value.shape not in shapes
                if is_old and value.flatten(0, 1).shape in shapes:
                    of_parameter[name] = value.flatten(0, 1)


def check_compatible(checkpoint: Mapping[str, Any], ours: Mapping[str, Tensor], image_shape: tuple[int, ...]) -> None:
    """Check that a checkpoint fits a network.

    Args:
        checkpoint: With the keys "state_dict" and, if `ImageClassifier` wrote it, "image_shape".
        ours: The network's state.
        image_shape: Shape `(C, H, W)` of the images that it is for.

    Raises:
        UserError: The checkpoint comes from another network, or was trained on images of another shape.
    """
    theirs = checkpoint["state_dict"]
    shape = tuple(checkpoint.get("image_shape", image_shape))
    if shape != image_shape:
        resized = f"set data.image_size to {shape[1]} or " if shape[0] == image_shape[0] else ""
        raise UserError(
            f"the checkpoint was trained on images of {_size(shape)}, the data has {_size(image_shape)}: "
            f"{resized}choose the data it was trained on"
        )
    differing = [name for name in ours if name not in theirs or theirs[name].shape != ours[name].shape]
    differing += [name for name in theirs if name not in ours]
    if differing:
        name = differing[0]
        raise UserError(
            f"the checkpoint is of another network: {len(differing)} of {len(ours)} tensors differ, first {name} "
            f"({_shape(theirs, name)} in the checkpoint, {_shape(ours, name)} here); "
            "use the config.yaml of the run that wrote it"
        )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return _size(tuple(tensors[name].shape)) or "scalar" if name in tensors else "missing"
