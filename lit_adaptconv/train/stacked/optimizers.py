"""The optimizers of the members of a stack: one step for all where an optimizer treats each element by itself."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

PER_ELEMENT: tuple[type[Optimizer], ...] = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.RMSprop,
)
"""Optimizers whose update of an element depends on nothing but its own gradients: members can share a step."""
COUNTS = ("step", "mu_product")
"""Entries of their states that are one number for a parameter, not one for each element."""


@dataclass
class Member:
    """What trains one member.

    Attributes:
        network: Its network.
        optimizer: Its optimizer.
        schedules: The learning-rate schedules that step with every batch.
    """

    network: nn.Module
    optimizer: Optimizer
    schedules: Sequence[LRScheduler]

    @property
    def settings(self) -> list[Any]:
        """What an optimizer's steps follow from, beside gradients; it compares equal where they are the same."""
        groups = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
        return [type(self.optimizer), groups, [type(schedule) for schedule in self.schedules]]

    @property
    def names(self) -> list[list[str]]:
        """The names, in the network, of the parameters of each group."""
        known = {id(parameter): name for name, parameter in self.network.named_parameters()}
        return [[known[id(p)] for p in group["params"]] for group in self.optimizer.param_groups]


def optimizers_of(stacked: Mapping[str, Tensor], members: Sequence[Member]) -> list[SharedOptimizer | OwnOptimizers]:
    """The optimizers of a stack: neighbours with the same settings share one.

    Args:
        stacked: The parameters of all members, see `StackedNetwork`.
        members: The members, in the same order.
    """
    made: list[SharedOptimizer | OwnOptimizers] = []
    begin = 0
    while begin < len(members):
        end = begin + 1
        if type(members[begin].optimizer) in PER_ELEMENT:
            while end < len(members) and members[end].settings == members[begin].settings:
                end += 1
            made.append(SharedOptimizer(stacked, members[begin:end], slice(begin, end)))
        else:
            made.append(OwnOptimizers(stacked, members[begin], begin))
        begin = end
    return made


class SharedOptimizer:
    """One optimizer, with its schedules, for members with the same settings.

    It is a copy of the first member's optimizer that steps on the stacked parameters.

    Args:
        stacked: The parameters of all members.
        members: Those that share it.
        place: Where they are among all.
    """

    def __init__(self, stacked: Mapping[str, Tensor], members: Sequence[Member], place: slice) -> None:
        self._members = members
        self._names = members[0].names
        self._gradients = {name: (stacked[name], place) for names in self._names for name in names}
        whole = place == slice(0, len(next(iter(stacked.values()))))
        self._values = {
            name: stacked[name] if whole else nn.Parameter(stacked[name].detach()[place]) for name in self._gradients
        }
        first = members[0].optimizer
        self._optimizer = copy.copy(first)
        vars(self._optimizer).pop("step", None)  # a schedule has bound it to the first member's
        self._optimizer.state = self._stacked_state()
        self._optimizer.param_groups = [
            {**group, "params": [self._values[name] for name in names]}
            for group, names in zip(first.param_groups, self._names, strict=True)
        ]

    def _stacked_state(self) -> defaultdict[Any, Any]:
        state: defaultdict[Any, Any] = defaultdict(dict)
        of_members = [member.optimizer.state for member in self._members]
        places = [[p for group in member.optimizer.param_groups for p in group["params"]] for member in self._members]
        for at, name in enumerate(name for names in self._names for name in names):
            own = [state_of.get(p[at], {}) for state_of, p in zip(of_members, places, strict=True)]
            for key, value in own[0].items():
                if isinstance(value, Tensor):
                    together = value.clone() if key in COUNTS else torch.stack([each[key] for each in own])
                    state[self._values[name]][key] = together
                else:
                    state[self._values[name]][key] = value
        return state

    def step(self) -> None:
        """Step, and let the schedules follow."""
        for name, (stacked, place) in self._gradients.items():
            value = self._values[name]
            if value is not stacked:
                value.grad = None if stacked.grad is None else stacked.grad[place]
        self._optimizer.step()
        first = self._members[0]
        for schedule in first.schedules:
            first.optimizer._opt_called = True  # type: ignore[attr-defined]  # else it says that it comes too early
            schedule.step()
        for mine, its in zip(self._optimizer.param_groups, first.optimizer.param_groups, strict=True):
            mine.update({name: value for name, value in its.items() if name != "params"})

    @torch.no_grad()
    def finish(self) -> None:
        """Give each member its state, its settings and its schedules as if it had stepped alone."""
        first = self._members[0]
        for number, member in enumerate(self._members):
            member.optimizer._opt_called = True  # type: ignore[attr-defined]  # a schedule of epochs looks for it
            own = [p for group in member.optimizer.param_groups for p in group["params"]]
            for parameter, name in zip(own, (name for names in self._names for name in names), strict=True):
                state = self._optimizer.state.get(self._values[name])
                if state is not None:
                    member.optimizer.state[parameter] = {
                        key: (value if key in COUNTS else value[number]).clone() if isinstance(value, Tensor) else value
                        for key, value in state.items()
                    }
            if member is first:
                continue
            for mine, its in zip(member.optimizer.param_groups, first.optimizer.param_groups, strict=True):
                mine.update({key: copy.deepcopy(value) for key, value in its.items() if key != "params"})
            for own_schedule, schedule in zip(member.schedules, first.schedules, strict=True):
                own_schedule.load_state_dict(copy.deepcopy(schedule.state_dict()))


class OwnOptimizers:
    """A member's own optimizer, of whatever kind, which steps on its part of the stacked parameters.

    Args:
        stacked: The parameters of all members.
        member: The member.
        place: Its place.
    """

    def __init__(self, stacked: Mapping[str, Tensor], member: Member, place: int) -> None:
        self._member = member
        self._parts = [(p, stacked[name], place) for name, p in member.network.named_parameters()]
        for parameter, whole, place in self._parts:
            parameter.data = whole.detach()[place]

    def step(self) -> None:
        """Step, and let the schedules follow."""
        for parameter, whole, place in self._parts:
            parameter.grad = None if whole.grad is None else whole.grad[place]
        self._member.optimizer.step()
        for schedule in self._member.schedules:
            schedule.step()

    def finish(self) -> None:
        """Give the member's parameters a place of their own again."""
        for parameter, _, _ in self._parts:
            parameter.data = parameter.data.clone()
            parameter.grad = None


@torch.no_grad()
def clip_gradients(stacked: Mapping[str, Tensor], value: float, algorithm: str) -> None:
    """Clip the gradients of every member by itself, as `torch.nn.utils` clips those of one.

    Args:
        stacked: The parameters of all members.
        value: The largest norm, or the largest value.
        algorithm: "norm" or "value".
    """
    gradients = [parameter.grad for parameter in stacked.values() if parameter.grad is not None]
    if algorithm == "value":
        for gradient in gradients:
            gradient.clamp_(-value, value)
        return
    norms = [torch.linalg.vector_norm(gradient.view(len(gradient), -1), dim=1) for gradient in gradients]
    total = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    factors = (value / (total + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)).to(gradient.dtype))
