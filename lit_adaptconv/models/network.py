"""Build the network that a classifier's options describe: a backbone or one's own, of one kind or converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv, conv_kind
from lit_adaptconv.measure.budget import Budget
from lit_adaptconv.models.backbones import Backbone
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.models.budget import fit_budget
from lit_adaptconv.models.conversion import convert
from lit_adaptconv.models.placement import AdaptiveIn, BackboneCallable, placed
from lit_adaptconv.models.selection import Selection


@dataclass
class ConvertOptions:
    """Swap convolutions of the network for another kind (see `lit_adaptconv.models.convert`).

    Args:
        kind: The conv kind.
        where: Which convolutions: a pattern on names in the network, several, or a `Selection`; None means all. 1×1
            convolutions are meant only by a `Selection` with kernel_size 1.
        budget: Largest number of trainable parameters of the converted network, or a `Budget`; as many are swapped as
            it allows.
        kind_options: Further arguments of the kind, such as `rank`.
        warm_start: Whether the new layers take over the weights of the old ones.
    """

    kind: str
    where: str | list[str] | Selection | None = None
    budget: int | Budget | None = None
    kind_options: dict[str, Any] | None = None
    warm_start: bool = False

    def apply(
        self,
        network: nn.Module,
        warm_start: bool | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> nn.Module:
        """Convert a network in place, and return it.

        Args:
            network: The network.
            warm_start: In the place of the option of that name.
            image_shape: Shape `(C, H, W)` of an image; a limit of FLOPs needs it, or an `example_input_array` of the
                network.
        """
        example = None
        if self.budget is not None and "flops" in Budget.of(self.budget).limits:  # nothing else runs the network
            own = getattr(network, "example_input_array", None)
            given = None if image_shape is None else torch.zeros(1, *image_shape)
            example = given if given is not None else own if isinstance(own, torch.Tensor) else None
        return convert(
            network,
            self.kind,
            where=self.where,
            budget=self.budget,
            example_input=example,
            kind_options=self.kind_options,
            warm_start=self.warm_start if warm_start is None else warm_start,
        ).model


def build_network(
    backbone: BackboneCallable | nn.Module,
    kind: str,
    kind_options: dict[str, Any] | None,
    width: Width,
    budget: int | Budget | None,
    conversion: ConvertOptions | None,
    image_shape: tuple[int, int, int],
    num_classes: int,
    adaptive_in: AdaptiveIn = "all",
) -> nn.Module:
    """Build a backbone of a kind, or take a network of one's own; then convert it, if that is asked for.

    Args:
        backbone: What makes a backbone, or a network.
        kind: The conv kind of a backbone.
        kind_options: Further arguments of that kind.
        width: A factor on a backbone's widths, or all of them.
        budget: Largest number of trainable parameters, or a `Budget`, after the conversion; the widest backbone within
            it is built.
        conversion: What to convert.
        image_shape: Channels, height and width of the images.
        num_classes: Number of classes.
        adaptive_in: Which convolutions of a backbone are of the kind, see `placement.placed`.

    Raises:
        UserError: Options that do not go together, a budget that cannot be met, an unknown kind or option, or a
            network that does not fit the images or the classes.
    """
    if conversion is not None and kind != "standard" and conversion.kind != kind:
        raise UserError(f"give one conv kind: got kind {kind!r} and convert.kind {conversion.kind!r}")
    if conversion is not None and adaptive_in != "all":
        raise UserError("give adaptive_in, for a backbone of a kind, or convert.where, for one that is converted")
    if isinstance(backbone, nn.Module):
        if kind != "standard" or width != 1.0 or budget is not None or adaptive_in != "all":
            raise UserError(
                "kind, width, budget and adaptive_in are for the backbones of lit_adaptconv; for "
                f"{type(backbone).__name__} give convert.kind, convert.budget and convert.where"
            )
        network = conversion.apply(backbone, image_shape=image_shape) if conversion else backbone
        _check_shapes(network, image_shape, num_classes)
        return network
    backbone = placed(backbone, adaptive_in)
    conv = conv_kind(kind, kind_options)
    in_channels, *image_size = image_shape
    size = (image_size[0], image_size[1])
    try:
        if budget is not None:
            if width != 1.0:
                plain = Budget.of(budget).plain
                raise UserError(f"give a width or a budget, not both: got width {width} and budget {plain}")
            width = _widest(backbone, conv, budget, conversion, image_shape, num_classes)
        built = backbone(in_channels, num_classes, size, conv, width)
    except (ValueError, TypeError) as error:
        if isinstance(error, UserError) or not kind_options:
            raise
        raise UserError(f"conv kind {kind!r} with options {kind_options}: {error}") from error
    return conversion.apply(built, image_shape=image_shape) if conversion else built


def _widest(
    backbone: BackboneCallable,
    conv: Conv,
    budget: int | Budget,
    conversion: ConvertOptions | None,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> tuple[int, ...]:
    in_channels, height, width = image_shape
    data = in_channels, num_classes, (height, width)
    if conversion is None:
        return fit_budget(lambda conv, width: backbone(*data, conv, width), conv, budget, image_shape).widths
    if conversion.budget is not None:
        raise UserError("give budget, to choose the widths, or convert.budget, to choose what is swapped; not both")

    def converted(_: Conv, width: Width) -> Backbone:
        network = backbone(*data, conv, width)
        conversion.apply(network, warm_start=False)
        return network

    return fit_budget(converted, nn.Conv2d, budget, image_shape).widths


def _check_shapes(network: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Check that a network of one's own takes the images and gives a logit for each class."""
    name, shown = type(network).__name__, "×".join(map(str, image_shape))
    parameter = next(network.parameters(), None)
    if parameter is None:
        raise UserError(f"{name} has no parameters: there is nothing to train")
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{name} does not take images of {shown}: {str(error).splitlines()[0]}") from error
    finally:
        for module in training:
            module.training = True
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, num_classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"{name} must give logits of shape (1, {num_classes}) for one image, got {got}")
