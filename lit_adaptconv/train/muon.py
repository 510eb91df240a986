"""Muon for matrices and convolutions, and AdamW for what is neither, as one optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of x, x³ and x⁵ in an odd polynomial that, applied again and again, takes singular values near 1."""
ITERATIONS = 5


class MuonAdamW(Optimizer):
    """Muon for parameters of two and more dimensions, AdamW for the others, which one schedule drives.

    Muon steps by the nearest orthogonal matrix to its momentum. A convolution's weight is a matrix with a row for each
    output channel, as is any other parameter of more than two dimensions. The step is scaled so that its root mean
    square is that of AdamW's (Liu et al., 2025, https://arxiv.org/abs/2502.16982): one learning rate and one weight
    decay, those of AdamW, serve both. PyTorch's own `torch.optim.Muon` takes matrices only.

    Source: Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate of both.
        weight_decay: Decoupled weight decay of both.
        momentum: Of Muon, in Nesterov's form.
        betas: Of AdamW.
        eps: Of AdamW.

    Raises:
        ValueError: The learning rate or the weight decay is negative, or the momentum is not between 0 and 1.

    Examples:
        >>> optimizer = MuonAdamW(torch.nn.Conv2d(3, 8, 3).parameters(), lr=0.01)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.003,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        for name, value in (("learning rate", lr), ("weight decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"Invalid {name}: {value}: it must not be negative")
        for name, value in (("momentum", momentum), ("first of betas", betas[0]), ("second of betas", betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"Invalid {name}: {value}: it must be at least 0 and below 1")
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": tuple(betas), "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step.

        Args:
            closure: Computes the loss and its gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    step = self._matrix_step if parameter.ndim > 1 else self._vector_step
                    parameter.sub_(group["lr"] * step(parameter, group))
        return loss

    def _matrix_step(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state, gradient, momentum = self.state[parameter], parameter.grad, group["momentum"]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(gradient, 1 - momentum)
        matrix: Tensor = gradient.lerp(average, momentum).flatten(1)
        scale = 0.2 * math.sqrt(max(matrix.shape))
        return (scale * orthogonalized(matrix)).view(parameter.shape)

    def _vector_step(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["steps"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["steps"] += 1
        first, second = group["betas"]
        mean: Tensor = state["mean"].lerp_(gradient, 1 - first) / (1 - first ** state["steps"])
        square: Tensor = state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        step: Tensor = mean / (torch.sqrt(square / (1 - second ** state["steps"])) + group["eps"])
        return step


def orthogonalized(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors whose singular values are near 1, between about 0.7 and 1.2.

    Args:
        matrix: Shape `(rows, columns)`; singular values that are tiny beside the largest stay small.
    """
    a, b, c = COEFFICIENTS
    wide: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide.T.contiguous() if matrix.shape[0] > matrix.shape[1] else wide
