"""Which parameters weight decay acts on: the weights of products, those of generators perhaps excepted, or all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

DecayOn = Literal["weights", "static", "all"]
SCALES = (nn.LayerNorm, nn.RMSNorm)
"""Layers whose scales may have several dimensions."""


def is_spared(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is no weight of a product: it has one dimension or none, or its name says that it is a bias.

    Biases of gates and generators may have more dimensions: `gate_bias`, `generator_bias`.
    """
    return parameter.ndim <= 1 or "bias" in name.rpartition(".")[2].split("_")


def spared(network: nn.Module) -> set[nn.Parameter]:
    """The parameters of a network that are no weights of a product: biases, and scales of normalisation."""
    found = {parameter for name, parameter in network.named_parameters() if is_spared(name, parameter)}
    return found | {p for module in network.modules() if isinstance(module, SCALES) for p in module.parameters()}


def generating(network: nn.Module) -> set[nn.Parameter]:
    """The parameters of generators and gates: those that a layer's class names as its `generator_parts`."""
    found: set[nn.Parameter] = set()
    for layer in network.modules():
        for name in getattr(layer, "generator_parts", ()):
            part = getattr(layer, name)
            found |= {part} if isinstance(part, nn.Parameter) else set() if part is None else {*part.parameters()}
    return found


def with_groups(
    make: Callable[[Iterable[Any]], Optimizer],
    network: nn.Module,
    divided: bool | None = None,
    on: DecayOn = "weights",
) -> Optimizer:
    """Make an optimizer whose weight decay acts on the weights of products alone, in two groups of parameters.

    It has one group where there is no weight decay, no parameter of one of the two sorts, or where the optimizer takes
    no groups; one that makes groups of its own keeps them.

    Args:
        make: Makes the optimizer from parameters, or from groups of them.
        network: What is trained.
        divided: Whether there are two groups; None decides by the weight decay.
        on: "static" also spares the weights of generators.
    """
    optimizer = make(network.parameters())
    decay = any(group.get("weight_decay") for group in optimizer.param_groups)
    if len(optimizer.param_groups) > 1 or not (decay if divided is None else divided):
        return optimizer
    free = spared(network) | (generating(network) if on == "static" else set())
    groups: list[list[nn.Parameter]] = [[], []]
    for parameter in network.parameters():
        groups[parameter in free].append(parameter)
    if not all(groups):
        return optimizer
    try:
        return make([{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}])
    except Exception:  # it takes parameters only, as it has just shown
        return optimizer
