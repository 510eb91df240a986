"""Exact size of every network of a sweep, without training one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lit_adaptconv.backbones.base import Backbone, Width
from lit_adaptconv.budget import count_parameters, fit_budget
from lit_adaptconv.errors import UserError
from lit_adaptconv.flops import forward_flops


@dataclass(frozen=True)
class NetworkSize:
    """A network's size, or why there is none.

    Attributes:
        parameters: Trainable parameters.
        flops: FLOPs of a forward pass of one image, a multiply-add counting two.
        widths: Width of every layer.
        impossible: Why no network meets the budget; None if one does.
    """

    parameters: int = 0
    flops: int = 0
    widths: tuple[int, ...] = ()
    impossible: str | None = None


def network_size(
    build: Callable[[Width], Backbone], image_shape: tuple[int, int, int], budget: int | None
) -> NetworkSize:
    """Size the network that a trial will train.

    Args:
        build: Makes the backbone for a width; it is called on the meta device, so nothing is allocated.
        image_shape: Shape of an image, `(C, H, W)`.
        budget: Largest number of trainable parameters; None takes the usual width.

    Raises:
        UserError: The network can't be built at any width, as for images that are too small.
    """
    with torch.device("meta"):
        network = build(1.0)
        if budget is not None:
            try:
                fit = fit_budget(build, budget)
            except UserError as error:
                return NetworkSize(impossible=str(error))
            network = build(list(fit.widths))
    return NetworkSize(count_parameters(network), forward_flops(network, image_shape), tuple(network.widths))
