"""The random numbers of each member of a stack: those that it draws when it is trained alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DROPOUTS: tuple[Callable[..., Tensor], ...] = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
"""Functions that multiply by a random mask."""


class MemberRandom:
    """The state of PyTorch's random generator of every member.

    Args:
        states: The states, as `torch.get_rng_state` gives them; they are replaced as numbers are drawn.
        device: The device whose generator it is.

    Attributes:
        drawn: Whether a number was drawn.
    """

    _current: ContextVar[MemberRandom | None] = ContextVar("random numbers of the members", default=None)

    def __init__(self, states: list[Tensor], device: torch.device | None = None) -> None:
        self.states = states
        self.drawn = False
        self._device = device if device is not None and device.type == "cuda" else None

    @classmethod
    @contextlib.contextmanager
    def used(cls, random: MemberRandom | None) -> Iterator[None]:
        """Let dropout in a stack draw from these numbers."""
        token = cls._current.set(random)
        try:
            yield
        finally:
            cls._current.reset(token)

    @classmethod
    def draw(cls, members: int, drawn: Callable[[], Tensor]) -> list[Tensor]:
        """Let each member draw.

        Args:
            members: Number of members.
            drawn: What one draws, from PyTorch's own generator.

        Raises:
            RuntimeError: No random numbers were given.
        """
        current = cls._current.get()
        if current is None:
            raise RuntimeError("this stack was given no random numbers")
        current.drawn = True
        before = current._get()
        values = []
        for member in range(members):
            current._set(current.states[member])
            values.append(drawn())
            current.states[member] = current._get()
        current._set(before)
        return values

    def _get(self) -> Tensor:
        return torch.get_rng_state() if self._device is None else torch.cuda.get_rng_state(self._device)

    def _set(self, state: Tensor) -> None:
        if self._device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, self._device)


class MemberNoise(torch.autograd.Function):
    """The mask of a dropout function, scaled; under `vmap` each member draws its own.

    Its arguments are what is to be dropped, of which shape and type alone count, the probability that an element is
    dropped, and the number of the function in `DROPOUTS`.
    """

    @staticmethod
    def forward(input: Tensor, p: float, function: int) -> Tensor:
        """Draw from PyTorch's own generator."""
        return DROPOUTS[function](torch.ones_like(input), p, True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing: a mask has no gradient."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        """Pass nothing on."""
        return None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], input: Tensor, p: float, function: int) -> tuple[Tensor, int]:
        """Let each member draw."""
        one = input if in_dims[0] is None else input.select(in_dims[0], 0)
        return torch.stack(MemberRandom.draw(info.batch_size, lambda: MemberNoise.forward(one, p, function))), 0
