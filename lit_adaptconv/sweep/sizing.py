"""Exact size of every network of a sweep, without training one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.measure.count import count_parameters, forward_flops
from lit_adaptconv.models.backbones.base import Backbone, Width
from lit_adaptconv.models.budget import Family
from lit_adaptconv.models.parameter_formula import on_meta


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


@dataclass(frozen=True)
class Networks:
    """The networks of an arm.

    Attributes:
        build: Makes the arm's backbone for a conv kind and a width.
        conv: The arm's conv kind.
        image_shape: Shape of an image, `(C, H, W)`.
    """

    build: Callable[[Conv, Width], Backbone]
    conv: Conv
    image_shape: tuple[int, int, int]

    @cached_property
    def _family(self) -> Family:
        return Family(self.build)

    def of(self, width: Width) -> Backbone:
        """The network with this width."""
        return self.build(self.conv, width)

    def size(self, budget: int | None) -> NetworkSize:
        """Size the network that a trial will train; nothing is allocated.

        Args:
            budget: Largest number of trainable parameters; None takes the usual width.

        Raises:
            UserError: The network can't be built at any width, as for images that are too small.
        """
        network = on_meta(lambda: self.of(1.0))
        if budget is not None:
            try:
                widths = self._family.fit(self.conv, budget).widths
            except UserError as error:
                return NetworkSize(impossible=str(error))
            network = on_meta(lambda: self.of(list(widths)))
        return NetworkSize(count_parameters(network), forward_flops(network, self.image_shape), tuple(network.widths))
