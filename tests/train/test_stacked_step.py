"""A step of a stack gives the same losses and gradients, whether it is captured in a graph or not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_adaptconv.layers import conv_kind
from lit_adaptconv.train.stacked import step as step_module
from lit_adaptconv.train.stacked.network import StackedNetwork
from lit_adaptconv.train.stacked.random_state import MemberRandom
from lit_adaptconv.train.stacked.step import StackedStep, _Computed

MEMBERS, CLASSES, SIZE = 3, 4, 8
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=on_gpu)]
KINDS = ["standard", "separable", "adaptive", "adaptive_low_rank", "odconv"]
IMAGES = (5, 5, 5, 5, 2, 5, 5, 3)


class Replayed:
    """What a CUDA graph is to its caller, without a GPU: the same memory each time, and nothing computed before."""

    made = 0

    def __init__(self, compute: Callable[[Tensor, Tensor], _Computed], images: Tensor, labels: Tensor) -> None:
        self._compute, self._memory = compute, _Computed(Tensor(), Tensor(), [])
        Replayed.made += 1

    def replay(self, images: Tensor, labels: Tensor) -> _Computed:
        new = self._compute(images, labels)
        if not self._memory.gradients:
            self._memory = new
        for mine, its in zip(_tensors(self._memory), _tensors(new), strict=True):
            mine.data = its.clone()
        return self._memory


class Refused(Replayed):
    """A graph that can't be made."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        raise RuntimeError("operation not permitted when stream is capturing")


class Waiting(nn.Module):
    """A layer that waits for the GPU, which no graph can hold."""

    def forward(self, images: Tensor) -> Tensor:
        if images.is_cuda:
            torch.cuda.synchronize()
        return images


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    Replayed.made = 0
    monkeypatch.setattr(step_module, "_refused", set())
    if not torch.cuda.is_available():
        monkeypatch.setattr(step_module, "_on_gpu", lambda images: True)
        monkeypatch.setattr(step_module, "_Graph", Replayed)


def _tensors(computed: _Computed) -> list[Tensor]:
    return [computed.loss, computed.correct, *(g for g in computed.gradients if g is not None)]


def networks(device: str, kind: str = "standard", extra: nn.Module | None = None) -> list[nn.Module]:
    torch.manual_seed(0)
    conv, found = conv_kind(kind), []
    for _ in range(MEMBERS):
        layers = [conv(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), *([] if extra is None else [extra])]
        layers[1].bias.requires_grad_(False)
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, CLASSES))
        found.append(network.to(device, torch.float64))
    return found


def steps(
    device: str, members: list[nn.Module], clipping: tuple[float, str] | None = None, smoothing: float = 0.0
) -> list[list[Tensor]]:
    """Losses, numbers and gradients of some batches of different sizes, and the buffers in the end."""
    stack = StackedNetwork(copy.deepcopy(members))
    state = torch.get_rng_state() if device == "cpu" else torch.cuda.get_rng_state()
    random = MemberRandom([state] * MEMBERS, torch.device(device))
    step = StackedStep(stack, random, nullcontext, smoothing, clipping, len(IMAGES))
    drawing = torch.Generator().manual_seed(1)
    found = []
    for number in IMAGES:
        images = torch.randn(MEMBERS, number, 2, SIZE, SIZE, generator=drawing, dtype=torch.float64).to(device)
        labels = torch.randint(CLASSES, (MEMBERS, number), generator=drawing).to(device)
        loss, correct = step(images, labels)
        gradients = [p.grad for p in stack.parameters.values() if p.grad is not None]
        found.append([t.clone() for t in (loss, correct, *gradients)])
        with torch.no_grad():
            for parameter in stack.parameters.values():
                parameter -= 0.1 * (0 if parameter.grad is None else parameter.grad)
    return [*found, [*stack.buffers.values()]]


def without_graph(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> list[list[Tensor]]:
    with monkeypatch.context() as patched:
        patched.setattr(step_module, "_on_gpu", lambda images: False)
        return steps(*args, **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"clipping": (0.01, "norm"), "smoothing": 0.1}, {"clipping": (0.001, "value")}]
)
def test_a_captured_step_gives_the_same(
    device: str, kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    members = networks(device, kind)
    torch.testing.assert_close(
        steps(device, members, **options),
        without_graph(monkeypatch, device, members, **options),
        rtol=1e-12,
        atol=1e-14,
    )
    if device == "cpu" and not torch.cuda.is_available():
        assert Replayed.made == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("extra", [nn.Dropout(0.3), Waiting()], ids=["draws", "waits"])
def test_what_no_graph_can_hold_is_computed_without(
    device: str, extra: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.cuda.is_available() and isinstance(extra, Waiting):
        monkeypatch.setattr(step_module, "_Graph", Refused)
    members = networks(device, extra=extra)
    for _ in range(2):  # the second time it is known
        torch.testing.assert_close(steps(device, members), without_graph(monkeypatch, device, members))
    assert torch.rand(2, device=device).shape == (2,)
    if not torch.cuda.is_available():
        assert Replayed.made == isinstance(extra, Waiting)


@pytest.mark.parametrize("device", DEVICES)
def test_probabilities_are_labels_too(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = StackedNetwork(networks(device))
    step = StackedStep(stack, MemberRandom([]), nullcontext, 0.0, None, len(IMAGES))
    images = torch.randn(MEMBERS, 5, 2, SIZE, SIZE, dtype=torch.float64, device=device)
    labels = torch.randint(CLASSES, (MEMBERS, 5), device=device)
    stack.like(networks(device)[0].eval())
    found = [
        [value.clone() for value in step(images, given)]
        for given in [labels] * 3 + [nn.functional.one_hot(labels, CLASSES).double()] * 3
    ]
    for other in found[1:]:
        torch.testing.assert_close(found[0], other)
