"""Put one convolution in another's place: the step that backbones and `convert` share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from lit_adaptconv.layers.kinds import Conv

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_is_full_backward_hook",
)


def conv_like(convolution: nn.Conv2d, conv: Conv, device: torch.device | str | None = None) -> nn.Module:
    """Make a layer of another kind with a convolution's geometry, bias, padding and dtype, on its device or another.

    Its weights are drawn anew. For `nn.Conv2d` itself, the convolution is returned as it is.
    """
    if conv is nn.Conv2d:
        return convolution
    padding = {} if convolution.padding_mode == "zeros" else {"padding_mode": convolution.padding_mode}
    with torch.device(device or convolution.weight.device):  # not every kind has an argument for it, or for the dtype
        layer = conv(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,
            stride=convolution.stride,
            padding=convolution.padding,
            dilation=convolution.dilation,
            groups=convolution.groups,
            bias=convolution.bias is not None,
            **padding,
        )
    return layer.to(convolution.weight.dtype)


def put(network: nn.Module, layers: Mapping[nn.Module, nn.Module]) -> None:
    """Put new layers in the places of old ones, with their training mode and hooks.

    A layer that stands in several places is replaced in all of them. The handles of the hooks still remove them.
    """
    with in_places(network, layers):
        pass


@contextlib.contextmanager
def in_places(network: nn.Module, layers: Mapping[nn.Module, nn.Module]) -> Iterator[None]:
    """Put new layers in the places of old ones, as `put`; if anything is raised within, the old ones are put back."""
    places = [
        (parent, name, child)
        for parent in list(network.modules())
        for name, child in parent._modules.items()
        if child is not None and child in layers
    ]
    try:
        for old, new in layers.items():
            new.train(old.training)
            for hooks in _HOOKS:
                setattr(new, hooks, getattr(old, hooks))
        for parent, name, child in places:
            parent._modules[name] = layers[child]
        yield
    except BaseException:
        for parent, name, child in places:
            parent._modules[name] = child
        raise


def is_spatial(convolution: nn.Conv2d) -> bool:
    """Whether its kernel is larger than 1×1, so that it sees more than one pixel."""
    return max(convolution.kernel_size) > 1


def swap_convolutions(network: nn.Module, conv: Conv, keep: Callable[[nn.Conv2d], bool] = lambda _: False) -> None:
    """Replace every spatial `nn.Conv2d` of a network that was just built, except those to keep.

    1×1 convolutions mix channels and see no neighbourhood from which a kernel could be computed: they stay.
    """
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d) and is_spatial(m) and not keep(m)]
    put(network, {old: conv_like(old, conv) for old in found})
