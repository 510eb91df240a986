"""Operations on channels give the same for all members at once as for one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lit_adaptconv.layers import conv_kind
from lit_adaptconv.models import ConvNet
from lit_adaptconv.train.stacked import channels
from lit_adaptconv.train.stacked.network import StackedNetwork, check_stackable
from lit_adaptconv.train.stacked.random_state import MemberRandom
from lit_adaptconv.train.stacked.step import StackedStep

MEMBERS = 3
POOLINGS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (F.max_pool2d, {"kernel_size": 2}),
    (F.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    (F.max_pool2d, {"kernel_size": 2, "return_indices": True}),
    (F.avg_pool2d, {"kernel_size": 2}),
    (F.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
]


def agree(
    function: Callable[..., Any], usual: Callable[..., Any], tensors: Sequence[Tensor], dims: Sequence[int | None]
) -> None:
    """Results and gradients of a mapped function are those of calls of the usual one, one by one."""
    tensors = [t.double().requires_grad_() for t in tensors]
    together = torch.vmap(function, tuple(dims))(*tensors)
    alone = [
        usual(*(t if dim is None else t.select(dim, number) for t, dim in zip(tensors, dims, strict=True)))
        for number in range(MEMBERS)
    ]
    if not isinstance(together, Tensor):
        together, alone = together[0], [each[0] for each in alone]
    expected = torch.stack(alone)
    torch.testing.assert_close(together, expected, rtol=1e-10, atol=1e-12)
    weights = torch.randn_like(expected)
    grads = [torch.autograd.grad((out * weights).sum(), tensors) for out in (together, expected)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-11)


def with_members(shape: tuple[int, ...], dim: int | None) -> Tensor:
    return torch.randn(*shape) if dim is None else torch.randn(MEMBERS, *shape).movedim(0, dim)


@pytest.mark.parametrize(("function", "options"), POOLINGS)
@pytest.mark.parametrize("dim", [0, 1, 2, 4])
def test_pools(function: Callable[..., Any], options: dict[str, Any], dim: int) -> None:
    ours, usual = partial(channels.pooled, function, **options), partial(function, **options)
    agree(ours, usual, [with_members((4, 5, 9, 8), dim)], [dim])


def test_pools_of_an_image_alone() -> None:
    function, options = POOLINGS[0]
    ours, usual = partial(channels.pooled, function, **options), partial(function, **options)
    agree(ours, usual, [with_members((5, 9, 8), 0)], [0])


@settings(deadline=None, max_examples=30)
@given(
    image_dim=st.sampled_from([None, 0, 1, 4]),
    weight_dim=st.sampled_from([None, 0, 2]),
    biased=st.booleans(),
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    filters=st.integers(1, 5),
)
def test_products_of_pixels(
    image_dim: int | None, weight_dim: int | None, biased: bool, shape: tuple[int, ...], filters: int
) -> None:
    if image_dim is None and weight_dim is None:
        return
    weight = with_members((filters, shape[1], 1, 1), weight_dim)
    tensors = [with_members(shape, image_dim), weight, *([torch.randn(MEMBERS, filters)] if biased else [])]
    agree(channels.conv2d, F.conv2d, tensors, [image_dim, weight_dim, *([0] if biased else [])])


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"padding": "same"}, {"dilation": (1, 1), "padding": (0, 0)}],
)
def test_convolutions_that_are_more_than_products(options: dict[str, Any]) -> None:
    weight = torch.randn(MEMBERS, 4, 4 // options.get("groups", 1), 1, 1)
    ours, usual = partial(channels.conv2d, **options), partial(F.conv2d, **options)
    agree(ours, usual, [torch.randn(MEMBERS, 2, 4, 5, 5), weight], [0, 0])


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5), (6, 4, 3, 3)])
@pytest.mark.parametrize("dim", [None, 0, 1])
@pytest.mark.parametrize("affine", [True, False])
def test_normalisation(shape: tuple[int, ...], dim: int | None, affine: bool) -> None:
    dims = [dim, *([0, 0] if affine else [])]
    if dims == [None]:
        return

    def function(batch_norm: Callable[..., Tensor], images: Tensor, *weights: Tensor) -> Tensor:
        return batch_norm(images, None, None, *weights, training=True)

    tensors = [with_members(shape, dim), *[torch.randn(MEMBERS, 4)] * (2 if affine else 0)]
    agree(partial(function, channels.batch_norm), partial(function, F.batch_norm), tensors, dims)


@pytest.mark.parametrize("training", [True, False])
def test_normalisation_keeps_the_averages_of_every_member(training: bool) -> None:
    images = torch.randn(MEMBERS, 6, 4, 3, 3).double()
    means, variances = torch.randn(MEMBERS, 4).double(), torch.rand(MEMBERS, 4).double() + 0.5
    mapped, alone = [(means.clone(), variances.clone()) for _ in range(2)]

    def function(images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return channels.batch_norm(images, mean, variance, training=training, momentum=0.3)

    together = torch.vmap(function)(images, *mapped)
    expected = [
        F.batch_norm(each, mean, variance, training=training, momentum=0.3)
        for each, mean, variance in zip(images, *alone, strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(expected), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mapped, alone, rtol=1e-10, atol=1e-12)
    assert training == (not torch.equal(mapped[0], means))


class Unusual(nn.Module):
    """Calls what `channels` replaces by keywords, and within derivatives of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels, self.norm = nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4, affine=False, track_running_stats=False)

    def forward(self, images: Tensor) -> Tensor:
        def energy(x: Tensor) -> Tensor:
            return F.avg_pool2d(self.pixels(x), 2).square().sum()

        moved = images - torch.func.grad(energy)(images)
        pooled = F.max_pool2d(input=self.norm(self.pixels(moved)), kernel_size=2)
        return F.avg_pool2d(input=pooled, kernel_size=[2, 2]).flatten(1)


def test_what_is_called_in_other_ways_is_mapped_too() -> None:
    check_stackable(Unusual(), (1, 8, 8))


class Copies(TorchDispatchMode):
    """Notes the operations that copy as much as an image of every member."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._schema.name in ("aten::clone", "aten::copy_", "aten::_to_copy") and out.numel() >= self.least:
            self.names.append(func._schema.name)
        return out


@pytest.mark.parametrize("kind", ["standard", "separable"])
def test_a_step_of_a_stack_copies_no_images(kind: str) -> None:
    members, images, sizes = 3, 5, [6, 8, 10, 10]
    networks = [ConvNet(1, 10, (28, 28), conv=conv_kind(kind), channels=sizes) for _ in range(members)]
    random = MemberRandom([torch.get_rng_state()] * members)
    step = StackedStep(StackedNetwork(networks), random, nullcontext, 0.0, None, 1)
    with Copies(members * images * sizes[1] * 7**2) as copies:  # of weights there are fewer
        step(torch.randn(members, images, 1, 28, 28), torch.randint(10, (members, images)))
    assert not copies.names
