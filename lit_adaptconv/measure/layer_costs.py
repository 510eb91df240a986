"""What each layer of a network costs: FLOPs, memory kept for training, and its share of the time."""

from __future__ import annotations

import contextlib
import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lit_adaptconv.measure.count import FlopMeter

OUTSIDE = "(outside of layers)"
"""What the network computes or owns in modules that contain layers."""

WARM_UP = 3
"""Forward passes before the clock counts."""

Layers = dict[nn.Module, str]


def layers_of(network: nn.Module) -> Layers:
    """The rows of a profile, in the order of the network: modules without children, and whole layers of this package.

    Every parameter and every computation is in at most one of them; the rest is `OUTSIDE`.
    """
    layers: Layers = {}

    def visit(module: nn.Module, name: str) -> None:
        children = dict(module.named_children())
        if not children or type(module).__module__.startswith("lit_adaptconv.layers"):
            layers.setdefault(module, name or type(module).__name__)
            return
        for child, part in children.items():
            visit(part, f"{name}.{child}" if name else child)

    visit(network, "")
    return layers


@contextlib.contextmanager
def _between(layers: Layers, enter: Callable[[str], None], leave: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call `enter(name)` before and `leave(name, output)` after each layer computes."""
    hooks = []
    for layer, name in layers.items():
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: enter(name)))
        hooks.append(layer.register_forward_hook(lambda _, __, output, name=name: leave(name, output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def own_parameters(network: nn.Module) -> dict[str, int]:
    """Trainable parameters of each layer; one that several layers share counts for the first of them."""
    owned: dict[str, int] = {}
    seen: set[nn.Parameter] = set()
    for module, name in {**layers_of(network), network: OUTSIDE}.items():
        mine = {p for p in module.parameters() if p.requires_grad} - seen
        owned[name] = sum(p.numel() for p in mine)
        seen |= mine
    return owned


def shapes_and_flops(network: nn.Module, image: Tensor) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """The shape (without the batch) of each layer's output, and each layer's FLOPs, for one image `(1, C, H, W)`.

    The network must be in evaluation mode.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    flops: dict[str, int] = defaultdict(int)
    before = 0

    def enter(_: str) -> None:
        nonlocal before
        before = meter.total

    def leave(name: str, output: Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])
        flops[name] += meter.total - before

    # The meter's hooks first: a layer's own share is added before its row is closed.
    with torch.no_grad(), FlopMeter(network) as meter, _between(layers_of(network), enter, leave):
        network(image)
    flops[OUTSIDE] = meter.total - sum(flops.values())
    return shapes, flops


def kept_for_training(network: nn.Module, images: Tensor) -> dict[str, int]:
    """Bytes that each layer keeps for the backward pass of a batch in training mode.

    Memory that two layers keep counts once, for the one that computes first. The input counts if it is kept; weights,
    which are there anyway, do not. The network is left as it is.
    """
    network = copy.deepcopy(network).train()
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: dict[str, int] = defaultdict(int)
    seen: set[int] = set()
    current = [OUTSIDE]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())  # no other tensor comes to lie there while the graph keeps this one
            kept[current[-1]] += storage.nbytes()
        return tensor

    def leave(name: str, output: Tensor) -> None:
        current.pop()

    layers = layers_of(network)
    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        _between(layers, current.append, leave),
    ):
        output = network(images)
    del output
    return kept


def time_shares(network: nn.Module, images: Tensor, calls: int = 10) -> dict[str, float]:
    """Each layer's share of the time of a forward pass; they add up to 1.

    The network must be in evaluation mode. The device finishes every layer before the next one starts.
    """
    from torch.utils.benchmark import timer  # waits for the device; it looks for a compiler when it is imported

    spent: dict[str, float] = defaultdict(float)
    began = 0.0

    def enter(_: str) -> None:
        nonlocal began
        began = timer()

    def leave(name: str, output: Tensor) -> None:
        spent[name] += timer() - began

    with torch.inference_mode(), _between(layers_of(network), enter, leave):
        for _ in range(WARM_UP):
            network(images)
        spent.clear()
        start = timer()
        for _ in range(calls):
            network(images)
        whole = timer() - start
    shares = {name: seconds / whole for name, seconds in spent.items()}
    return {**shares, OUTSIDE: max(0.0, 1 - math.fsum(shares.values()))}
