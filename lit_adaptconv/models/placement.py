"""Where in a backbone the layers of its conv kind stand, if not everywhere, and which parts are not trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.layers.kinds import Conv
from lit_adaptconv.layers.sharing import join
from lit_adaptconv.models.backbones.base import Backbone, Width
from lit_adaptconv.models.selection import Selection
from lit_adaptconv.models.swap import conv_like, put

BackboneCallable = Callable[[int, int, tuple[int, int], Conv, Width], Backbone]

AdaptiveIn = list[str] | str
"""Which of a backbone's convolutions are of its kind: "all", "first", "last", or patterns on their names."""


class _Place(nn.Conv2d):
    """Marks a convolution that a backbone makes of the kind that it is given."""


def placed(backbone: BackboneCallable, adaptive_in: AdaptiveIn) -> BackboneCallable:
    """Return what makes the backbone with its kind in some places, and ordinary convolutions in the others.

    The places are those where the backbone would have its kind; what it keeps ordinary in any case, such as its 1×1
    convolutions, is none of them. The ordinary layers start as in the backbone of kind "standard" with the same seed.

    Args:
        backbone: Makes a backbone.
        adaptive_in: "all", "first", "last", or patterns on names of convolutions or of parts that they lie in (see
            `Selection`); every pattern must fit one.

    Returns:
        What makes it. It raises a `UserError` where there is no such convolution; the message lists those that are.
    """
    if adaptive_in == "all":
        return backbone

    def build(in_channels: int, num_classes: int, image_size: tuple[int, int], conv: Conv, width: Width) -> Backbone:
        with torch.random.fork_rng(devices=[]):
            marked = backbone(in_channels, num_classes, image_size, _Place, width)
        names = _chosen(marked, adaptive_in)
        network = backbone(in_channels, num_classes, image_size, nn.Conv2d, width)
        old = [network.get_submodule(name) for name in names]
        put(network, {layer: conv_like(layer, conv) for layer in old if isinstance(layer, nn.Conv2d)})
        join(network.modules())
        return network

    return build


def freeze(network: nn.Module, parts: list[str] | str) -> None:
    """Keep parts of a network as they are: their parameters need no gradient, and are no trainable parameters.

    Args:
        network: The network; its batch normalisation still follows the images.
        parts: Patterns on names of parameters or of parts that they lie in, such as "features.0" (see `Selection`).

    Raises:
        UserError: A pattern fits no parameter (the message lists the parts that there are), or all of them.
    """
    name, parameters = type(network).__name__, dict(network.named_parameters(remove_duplicate=False))
    known = [part for part, module in network.named_modules() if part and any(True for _ in module.parameters())]
    for part in _fitting("freeze", parts, [*parameters], name, f"names of these: {', '.join(known)}"):
        parameters[part].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(f"freeze: nothing of {name} is left to train")


def _chosen(marked: Backbone, adaptive_in: AdaptiveIn) -> list[str]:
    """Names of the marked convolutions that are meant; a shared one may have several."""
    distinct = [name for name, module in marked.named_modules() if type(module) is _Place]
    if not distinct:
        raise UserError(f"adaptive_in: {type(marked).__name__} makes no convolution of a kind")
    if adaptive_in == "first":
        return distinct[:1]
    if adaptive_in == "last":
        return distinct[-1:]
    every = [name for name, module in marked.named_modules(remove_duplicate=False) if type(module) is _Place]
    known = f"all, first, last or names of these: {', '.join(distinct)}"
    return _fitting("adaptive_in", adaptive_in, every, type(marked).__name__, known)


def _fitting(option: str, given: list[str] | str, names: list[str], network: str, known: str) -> list[str]:
    """The names that fit one of the patterns given for an option.

    Raises:
        UserError: A pattern fits none, or there is no pattern; the message says what may be given.
    """
    patterns = [given] if isinstance(given, str) else given
    wrong = [pattern for pattern in patterns if not any(map(Selection([pattern]).fits_name, names))]
    if wrong or not patterns:
        unknown = f"{network} has no {' or '.join(map(repr, wrong))}" if wrong else "it is empty"
        raise UserError(f"{option}: {unknown}; give {known}")
    return [name for name in names if Selection(patterns).fits_name(name)]
