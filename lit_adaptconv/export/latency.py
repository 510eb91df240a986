"""Times networks by turns, each in onnxruntime and in PyTorch, for one image and for a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from lit_adaptconv.errors import UserError, told_in_one_line
from lit_adaptconv.export import onnx
from lit_adaptconv.export.check import Run
from lit_adaptconv.export.exporters import reason
from lit_adaptconv.export.inference_memory import peaks_of_inference
from lit_adaptconv.measure.budget import Limits, with_budget
from lit_adaptconv.measure.environment import device_name, versions
from lit_adaptconv.measure.latency import Latencies, NetworkLatency, RuntimeLatency
from lit_adaptconv.measure.timing import Spread, Task, in_turns
from lit_adaptconv.train.loading import check_threads

ROUNDS = 60
"""Turns of one image of each network, by default; a batch, which takes longer, has a third as many."""
TURN_SECONDS = 0.001
BATCH_SIZE = 32


@dataclass(frozen=True)
class Timed:
    """A network to time.

    Attributes:
        network: On the CPU, in evaluation mode.
        image_shape: Shape `(C, H, W)` of an image.
        arm: Its arm, or the name of its run.
        budget: Its budget, or None.
        kind: Its conv kind.
        parameters: Its trainable parameters, or None where they are not known.
    """

    network: nn.Module
    image_shape: tuple[int, int, int]
    arm: str = ""
    budget: Limits | None = None
    kind: str = ""
    parameters: int | None = None

    @property
    def title(self) -> str:
        """It as people name it."""
        return with_budget(self.arm, self.budget)


@dataclass(frozen=True)
class _Exported:
    file: bytes | None = None
    run: Run | None = None
    reason: str = ""


def measure_latency(
    networks: Sequence[Timed],
    *,
    batch_size: int = BATCH_SIZE,
    threads: int = 1,
    rounds: int = ROUNDS,
    torch_only: bool = False,
    memory: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Latencies:
    """Export each network once, and time all of them by turns on the CPU.

    Args:
        networks: The networks.
        batch_size: Images in a batch, which is timed beside the single image.
        threads: CPU threads of both runtimes.
        rounds: Turns of one image of each network; a batch has a third as many.
        torch_only: Whether onnxruntime is left out.
        memory: Whether peak memory is measured too.
        say: Is told which network is being exported.

    Raises:
        UserError: onnxruntime is not installed, PyTorch can't run a network, or a number is out of its range.
    """
    for name, value in (("batch_size", batch_size), ("rounds", rounds), ("threads", threads)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    check_threads(threads)
    if not torch_only:
        onnx.check_onnx()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        exported = [_Exported()] * len(networks)
        if not torch_only:
            exported = [_export(each, say) for each in networks]
        say(f"timing {len(networks)} {'network' if len(networks) == 1 else 'networks'} by turns")
        found = _timed(networks, exported, batch_size, threads, rounds)
        files = [(each.network, one.file, each.image_shape) for each, one in zip(networks, exported, strict=True)]
        peaks = peaks_of_inference(files, threads) if memory else [(None, None)] * len(networks)
    finally:
        torch.set_num_threads(usual)
    measured = []
    for each, one, (in_onnx, in_torch), peak in zip(networks, exported, found, peaks, strict=True):
        measured.append(
            NetworkLatency(
                arm=each.arm,
                budget=each.budget,
                kind=each.kind,
                parameters=each.parameters,
                onnx=None if in_onnx is None else RuntimeLatency(*in_onnx, peak[0]),
                torch=RuntimeLatency(*in_torch, peak[1]),
                onnx_bytes=None if one.file is None else len(one.file),
                reason=one.reason,
            )
        )
    further = () if torch_only else onnx.NEEDED
    device = device_name(torch.device("cpu"))
    return Latencies(device, threads, batch_size, rounds, load, versions(*further), tuple(measured))


def _export(each: Timed, say: Callable[[str], None]) -> _Exported:
    """The network for onnxruntime, or why there is none."""
    say(f"exporting {each.title}")
    try:
        file = onnx.to_onnx(each.network, each.image_shape).SerializeToString()
        run = onnx.runtime(file)
        run(torch.zeros(1, *each.image_shape))
    except UserError as error:
        return _Exported(reason=str(error))
    except Exception as error:  # onnxruntime's, of an operator that it can't compute
        return _Exported(reason=f"onnxruntime cannot run it: {reason(error)}")
    return _Exported(file, run)


Pair = tuple[Spread, Spread]


def _timed(
    networks: Sequence[Timed], exported: Sequence[_Exported], batch_size: int, threads: int, rounds: int
) -> list[tuple[Pair | None, Pair]]:
    """Seconds of one image and of a batch of each network, in onnxruntime and in PyTorch."""
    single, batches = list[Task](), list[Task]()
    with torch.inference_mode():
        for each, one in zip(networks, exported, strict=True):
            images = torch.randn(batch_size, *each.image_shape, generator=torch.Generator().manual_seed(0))
            with told_in_one_line(f"running {each.title or type(each.network).__name__}"):
                each.network(images)
            for run in (one.run, each.network):
                if run is not None:
                    single.append(Task(partial(run, images[:1]), threads))
                    batches.append(Task(partial(run, images), threads))
        times = (
            in_turns(single, rounds, turn=TURN_SECONDS, core=True),
            in_turns(batches, -(-rounds // 3), turn=TURN_SECONDS, core=True),
        )
    pairs = ((image.spread, batch.spread) for image, batch in zip(*times, strict=True))
    return [(None if one.run is None else next(pairs), next(pairs)) for one in exported]
