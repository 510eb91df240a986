"""Networks are timed by turns in both runtimes; what one can't run has the reason."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.export import latency
from lit_adaptconv.export.inference_memory import peaks_of_inference
from lit_adaptconv.export.latency import Timed, measure_latency
from lit_adaptconv.measure.memory import CLEAR_REFS

SHAPE = (1, 8, 8)


class Uncertain(nn.Module):
    """Decides by its input what to compute, which nothing can export."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if float(images.sum()) > 0 else images.flatten(1)[:, :10]


def network(repeats: int = 1, channels: int = 4) -> nn.Module:
    layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(repeats)]
    return nn.Sequential(nn.Conv2d(1, channels, 1), *layers, nn.Flatten(), nn.LazyLinear(10)).eval()


def made(repeats: int = 1) -> Timed:
    ready = network(repeats)
    ready(torch.zeros(1, *SHAPE))
    return Timed(ready, SHAPE, f"{repeats} layers", None, "standard", 10)


def test_each_network_has_both_runtimes_one_image_and_a_batch() -> None:
    found = measure_latency([made(1), made(12)], batch_size=4, rounds=3, memory=False)
    assert (found.threads, found.batch_size, found.turns) == (1, 4, 3)
    assert {"torch", "onnxruntime"} <= found.versions.keys()
    small, large = found.networks
    for one in (small, large):
        assert one.onnx is not None
        assert one.reason == ""
        for times in (one.onnx.image, one.onnx.batch, one.torch.image, one.torch.batch):
            assert 0 < times.lower <= times.median <= times.upper
    assert small.torch.image.median < large.torch.image.median  # by eleven layers
    assert (small.onnx_bytes or 0) < (large.onnx_bytes or 0)


def test_a_network_that_cannot_be_exported_has_pytorchs_latency_and_the_reason() -> None:
    found = measure_latency([Timed(Uncertain(), SHAPE, "a", 300), made()], batch_size=2, rounds=1, memory=False)
    uncertain, other = found.networks
    assert uncertain.onnx is None
    assert uncertain.onnx_bytes is None
    assert "Uncertain cannot be exported to ONNX" in uncertain.reason
    assert uncertain.torch.image.median > 0
    assert other.onnx is not None


def test_without_onnxruntime_it_says_what_to_install_unless_pytorch_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ONNX needs .*onnxruntime: pip install 'lit-adaptconv\[onnx\]'"):
        measure_latency([made()], rounds=1)
    (found,) = measure_latency([made()], rounds=1, batch_size=1, torch_only=True, memory=False).networks
    assert (found.onnx, found.reason) == (None, "")


@pytest.mark.parametrize("name", ["batch_size", "rounds", "threads"])
def test_numbers_below_one_are_refused(name: str) -> None:
    numbers: dict[str, Any] = {name: 0}
    with pytest.raises(UserError, match=f"{name} must be at least 1, got 0"):
        measure_latency([made()], **numbers)


def test_a_network_that_does_not_run_is_told_by_its_name() -> None:
    wrong = Timed(nn.Linear(3, 4), SHAPE, "a", 300)
    with pytest.raises(UserError, match="^running a 300: "):
        measure_latency([wrong], torch_only=True)


def test_threads_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, seen = torch.get_num_threads(), []
    timed: Callable[..., Any] = latency.in_turns
    monkeypatch.setattr(
        latency, "in_turns", lambda tasks, *args, **more: seen.append(tasks[0].threads) or timed(tasks, *args, **more)
    )
    measure_latency([made()], threads=3, rounds=1, batch_size=1, torch_only=True, memory=False)
    assert seen == [3, 3]
    assert torch.get_num_threads() == usual


@pytest.mark.slow
@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="only Linux tells the high-water mark of a moment")
def test_the_peak_of_inference_holds_weights_and_activations_in_both_runtimes() -> None:
    shape, channels = (1, 128, 128), 64
    wide = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 3), nn.Flatten()
    ).eval()
    heavy = nn.Sequential(nn.Flatten(), nn.Linear(64, 30_000), nn.Linear(30_000, 10)).eval()
    from lit_adaptconv.export.onnx import to_onnx

    found = peaks_of_inference(
        [
            (wide, to_onnx(wide, shape).SerializeToString(), shape),
            (heavy, to_onnx(heavy, SHAPE).SerializeToString(), SHAPE),
            (Local.make(), None, SHAPE),
        ],
        1,
    )
    activations, weights = channels * 128 * 128 * 4, 74 * 30_000 * 4
    for peak in found[0]:
        assert peak is not None
        assert peak > 0.9 * activations
    for peak in found[1]:
        assert peak is not None
        assert peak > 0.9 * weights
    assert found[2] == (None, None)


class Local:
    @staticmethod
    def make() -> nn.Module:
        """A network of a class that no other process can find."""

        class Hidden(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return images

        with pytest.raises((AttributeError, pickle.PicklingError)):
            pickle.dumps(Hidden())
        return Hidden()
