"""A training step of a stack but for its optimizers: on a GPU a CUDA graph, which spares the host its operations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_adaptconv.train.stacked.network import StackedNetwork
from lit_adaptconv.train.stacked.optimizers import clip_gradients
from lit_adaptconv.train.stacked.random_state import MemberRandom

WORTHWHILE = 8
"""Steps from which on one is captured."""
_refused: set[str] = set()
"""Networks, as they print themselves, whose steps no graph can hold."""


class _Computed(NamedTuple):
    """What a step computes.

    Attributes:
        loss: Each member's loss, shape (M,).
        correct: Number of images that each classified right, shape (M,).
        gradients: Those of the stacked parameters, in their order.
    """

    loss: Tensor
    correct: Tensor
    gradients: list[Tensor | None]


class StackedStep:
    """Forward and backward pass of all members.

    On a GPU the step is captured in a CUDA graph at the second batch, and replayed for those after it that have the
    same shape. A network that draws random numbers, or does what no graph can hold, goes without.

    Args:
        network: The members.
        random: Their random numbers.
        context: What the forward pass runs in.
        smoothing: Label smoothing.
        clipping: The largest norm or value of a member's gradients, and which of both it is; None leaves them.
        steps: How many steps there will be: to capture one takes as long as a few.
    """

    def __init__(
        self,
        network: StackedNetwork,
        random: MemberRandom,
        context: Callable[[], AbstractContextManager[object]],
        smoothing: float,
        clipping: tuple[float, str] | None,
        steps: int,
    ) -> None:
        self._network = network
        self._random = random
        self._context = context
        self._smoothing = smoothing
        self._clipping = clipping
        self._shapes: list[torch.Size] | None = None
        self._graph: _Graph | None = None
        self._capturable = steps >= WORTHWHILE and repr(network) not in _refused

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give the parameters their gradients.

        Args:
            images: Each member's images, `(M, N, C, H, W)`.
            labels: Their labels, `(M, N)`, or probabilities, `(M, N, num_classes)`.

        Returns:
            Each member's loss and the number of images that it classified right, shape (M,), until the next call.
        """
        shapes = [images.shape, labels.shape]
        if shapes != self._shapes:
            self._graph = None  # an epoch's last batch may be smaller; both would take a step's memory
        elif self._capturable and _on_gpu(images):
            self._capture(images, labels)
        computed = self._compute(images, labels) if self._graph is None else self._graph.replay(images, labels)
        self._shapes = shapes
        for parameter, gradient in zip(self._network.parameters.values(), computed.gradients, strict=True):
            parameter.grad = gradient
        return computed.loss, computed.correct

    def _compute(self, images: Tensor, labels: Tensor) -> _Computed:
        with self._context():
            logits = self._network(images, self._random)
            each = F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(0, 1), reduction="none", label_smoothing=self._smoothing
            ).view(logits.shape[:2])
            loss = each.mean(1)
        self._network.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        if self._clipping is not None:
            clip_gradients(self._network.parameters, *self._clipping)
        correct = (logits.detach().argmax(2) == (labels.argmax(2) if labels.ndim == 3 else labels)).sum(1)
        return _Computed(loss.detach(), correct, [p.grad for p in self._network.parameters.values()])

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        """Capture the step, where that can be done; nothing is computed yet. It is tried once."""
        self._capturable = False
        if self._random.drawn:
            return
        try:
            self._graph = _Graph(self._compute, images, labels)
        except Exception as error:  # of what waits for the GPU, say; PyTorch keeps memory for each that fails
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            _refused.add(repr(self._network))


def _on_gpu(images: Tensor) -> bool:
    return images.is_cuda


class _Graph:
    """A step in a CUDA graph: reads and writes the same memory each time.

    Args:
        compute: The step.
        images: A batch of the shape that it is for.
        labels: Its labels.

    Raises:
        RuntimeError: It does what can't be captured.
    """

    def __init__(self, compute: Callable[[Tensor, Tensor], _Computed], images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.clone(), labels.clone()
        self._graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[images.get_device()]
        numbers = generator.get_state()
        # thread_local: what other threads do on the GPU meanwhile is none of the graph's business. The stream around
        # it is left even if the capture fails.
        try:
            with (
                torch.cuda.device(images.device),
                torch.cuda.stream(torch.cuda.Stream()),  # type: ignore[no-untyped-call]
                torch.cuda.graph(self._graph, capture_error_mode="thread_local"),
            ):
                self._computed = compute(self._images, self._labels)
        except BaseException:  # PyTorch leaves its generator in the midst of the capture, where it draws nothing more
            fresh = torch.Generator(images.device)
            fresh.set_state(numbers)
            generator.graphsafe_set_state(fresh)
            raise

    def replay(self, images: Tensor, labels: Tensor) -> _Computed:
        """Compute a step for another batch."""
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._computed
