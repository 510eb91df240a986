"""Several networks of one architecture as one: `torch.func` maps one forward pass over all their parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from lit_adaptconv.errors import UserError
from lit_adaptconv.train.stacked import channels
from lit_adaptconv.train.stacked.random_state import DROPOUTS, MemberNoise, MemberRandom


class StackedNetwork:
    """Networks that differ in the values of their parameters and buffers alone, computed together.

    Args:
        networks: The members. They are left as they are until `unstack`.

    Attributes:
        parameters: Their parameters by name, with a first dimension for the members.
        buffers: Their buffers, likewise.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._members = len(networks)
        self._network = copy.deepcopy(networks[0])
        self.parameters = {
            name: torch.stack([each.detach() for each in values]).requires_grad_(values[0].requires_grad)
            for name, values in _by_name([dict(network.named_parameters()) for network in networks]).items()
        }
        buffers = _by_name([dict(network.named_buffers()) for network in networks])
        self.buffers = {name: torch.stack(list(values)) for name, values in buffers.items()}

    def __repr__(self) -> str:
        return repr(self._network)

    def __call__(self, images: Tensor, random: MemberRandom | None = None) -> Tensor:
        """Map the images of every member, `(M, N, C, H, W)`, to its logits, `(M, N, num_classes)`.

        In training mode the averages of normalisation layers are brought up to date.

        Args:
            images: Each member's images, float.
            random: Each member's random numbers; None where nothing is drawn.

        Raises:
            UserError: The network does what can't be mapped.
        """

        def forward(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Tensor:
            logits: Tensor = functional_call(self._network, (dict(parameters), dict(buffers)), (images,))
            return logits

        with _Mapped(), MemberRandom.used(random):
            logits: Tensor = torch.vmap(forward, randomness="error")(self.parameters, self.buffers, images)
        return logits

    def like(self, network: nn.Module) -> None:
        """Take the modes, training or evaluation, of a member's layers."""
        for mine, its in zip(self._network.modules(), network.modules(), strict=True):
            mine.training = its.training

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def unstack(self, networks: Sequence[nn.Module]) -> None:
        """Write the values back into the members."""
        for stacked, named in (
            (self.parameters, [dict(network.named_parameters()) for network in networks]),
            (self.buffers, [dict(network.named_buffers()) for network in networks]),
        ):
            into = [member[name] for name in stacked for member in named]
            values = [value for tensor in stacked.values() for value in tensor.detach().unbind()]
            if into:
                torch._foreach_copy_(into, values)


def check_stackable(network: nn.Module, image_shape: tuple[int, ...]) -> None:
    """Check that networks like this one can be computed together, in training and in evaluation.

    Args:
        network: The network, which is left as it is.
        image_shape: Shape of an image.

    Raises:
        UserError: They can't, with the reason.
    """
    members = [copy.deepcopy(network).double(), copy.deepcopy(network).double()]  # rounding is not to be judged
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for parameter in members[1].parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1 * torch.randn_like(parameter))
        device = next(network.parameters()).device
        images = torch.randn(2, 3, *image_shape, dtype=torch.float64, device=device)
        for mode in (False, True):
            for member in members:
                member.train(mode)
            stacked = StackedNetwork(members)
            begin = torch.get_rng_state()
            try:
                together = stacked(images, MemberRandom([begin, begin]))
            except Exception as error:  # of whatever torch.vmap can't map
                raise UserError(f"torch.vmap can't map it: {_short(error)}") from None
            for number, member in enumerate(members):
                torch.set_rng_state(begin)
                alone = member(images[number])
                _compare(together[number], alone)


def training_bytes(network: nn.Module, image_shape: tuple[int, ...], batch: int) -> int:
    """Peak memory on a GPU of a training step of one more network in a stack, its optimizer's state counted.

    Args:
        network: The network, on the GPU.
        image_shape: Shape of an image.
        batch: Images of a batch.
    """
    peaks = []
    device = next(network.parameters()).device
    for members in (2, 2, 4):  # the first step takes memory that stays, for cuDNN say
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        stacked = StackedNetwork([network] * members)
        images = torch.zeros(members, batch, *image_shape, device=device)
        stacked(images, MemberRandom([torch.cuda.get_rng_state(device)] * members, device)).sum().backward()  # type: ignore[no-untyped-call]
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
        del stacked, images
    return (peaks[2] - peaks[1]) // 2 + 2 * sum(p.nbytes for p in network.parameters())


def _compare(together: Tensor, alone: Any) -> None:
    """Check that a member's output is the same in the stack and alone.

    Raises:
        UserError: It isn't.
    """
    if not isinstance(alone, Tensor):
        raise UserError("its output is no tensor")
    scale = float(alone.abs().max()) or 1.0
    if not torch.allclose(together, alone, rtol=1e-6, atol=1e-6 * scale, equal_nan=True):
        raise UserError("its output depends on more than its parameters and buffers")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _by_name(members: Sequence[Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, ...]]:
    return {name: tuple(member[name] for member in members) for name in members[0]}


class _Mapped(TorchFunctionMode):
    """Replaces what can't be mapped as it is, or not fast: dropout, and what `channels` has."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if func in DROPOUTS:
            return _dropout(func, *args, **options)
        if any(transform.key() != TransformType.Vmap for transform in get_interpreter_stack() or []):
            return func(*args, **options)  # within a derivative that the network takes itself
        if func is F.conv2d:
            return channels.conv2d(*args, **options)
        if func is F.batch_norm:
            return channels.batch_norm(*args, **options)
        if func in channels.POOLS:
            return channels.pooled(func, *args, **options)
        return func(*args, **options)


def _dropout(
    func: Callable[..., Tensor], input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout by the mask that each member draws when it is trained alone."""
    if not training or p == 0:
        return input
    mask: Tensor = MemberNoise.apply(input.detach(), p, DROPOUTS.index(func))
    return input * mask
