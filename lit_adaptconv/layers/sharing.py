"""Layers that share parameters with others of their network: how they find each other."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

JOIN = "join_layers"
"""Name of the class method by which a layer's class lets layers share; it is given those of one network, in order."""


def shares(conv: Any) -> bool:
    """Whether the layers that a conv kind makes share parameters, so that their number is not that of each alone."""
    return hasattr(conv.func if isinstance(conv, partial) else conv, JOIN)


def join(layers: Iterable[nn.Module]) -> None:
    """Let layers that share parameters find each other.

    Every `Backbone` calls it when it is built, and `convert` with the layers that it made. A network of one's own that
    makes its layers of a kind calls it at the end of its constructor: `join(self.modules())`. Layers that share already
    stay as they are.

    Args:
        layers: The modules of one network, in its order; those that share nothing are passed over.
    """
    by_class: dict[type[nn.Module], list[nn.Module]] = {}
    for layer in layers:
        if hasattr(type(layer), JOIN):
            by_class.setdefault(type(layer), []).append(layer)
    for layer_class, found in by_class.items():
        getattr(layer_class, JOIN)(found)
