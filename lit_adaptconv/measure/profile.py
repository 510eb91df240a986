"""What a network costs, layer by layer and as a whole: parameters, FLOPs, memory and time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lit_adaptconv.errors import UserError
from lit_adaptconv.files import write_text
from lit_adaptconv.measure.environment import device_name, usable_device, versions
from lit_adaptconv.measure.layer_costs import (
    OUTSIDE,
    kept_for_training,
    layers_of,
    own_parameters,
    shapes_and_flops,
    time_shares,
)
from lit_adaptconv.measure.timing import Task, Times, in_turns


@dataclass(frozen=True)
class Latency:
    """Seconds of a forward pass.

    Attributes:
        batch_size: Images in the batch.
        seconds: Median.
        lower: First quartile.
        upper: Third quartile.
        calls: Turns that were timed.
        throughput: Images a second, at the median.
    """

    batch_size: int
    seconds: float
    lower: float
    upper: float
    calls: int
    throughput: float

    @classmethod
    def of(cls, times: Times, batch_size: int) -> Latency:
        """Summarise the times of a batch."""
        s = times.spread
        return cls(batch_size, s.median, s.lower, s.upper, len(times.seconds), batch_size / s.median)


@dataclass(frozen=True)
class LayerProfile:
    """One layer.

    Attributes:
        name: Its name in the network.
        layer: Its class.
        output_shape: Shape of its output, without the batch; None if it computed nothing.
        parameters: Trainable parameters.
        flops: FLOPs for one image, a multiply-add counting two.
        activation_bytes: Bytes that it keeps for the backward pass of a batch.
        time_share: Its share of the time of a forward pass of a batch.
    """

    name: str
    layer: str
    output_shape: tuple[int, ...] | None
    parameters: int
    flops: int
    activation_bytes: int
    time_share: float


@dataclass(frozen=True)
class Profile:
    """A network.

    Attributes:
        network: Its class.
        kind: Its conv kind.
        input_shape: Shape `(C, H, W)` of an image.
        batch_size: Images in the batch that memory and time shares are told for.
        layers: The layers in the order of the network; what is in none of them comes last, if there is anything.
        parameters: Trainable parameters.
        flops: FLOPs for one image.
        activation_bytes: Bytes that are kept for the backward pass of a batch.
        latency: Time of a forward pass, for one image and for the batch.
        device: What it was measured on.
        threads: CPU threads that PyTorch used.
        versions: Versions of Python and of the packages that matter.
    """

    network: str
    kind: str
    input_shape: tuple[int, int, int]
    batch_size: int
    layers: tuple[LayerProfile, ...]
    parameters: int
    flops: int
    activation_bytes: int
    latency: tuple[Latency, ...]
    device: str
    threads: int
    versions: dict[str, str] = field(default_factory=versions)

    def write(self, path: Path) -> None:
        """Write the profile as JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")


def profile(
    network: nn.Module,
    kind: str,
    input_shape: tuple[int, int, int],
    batch_size: int = 32,
    device: str = "cpu",
    seconds: float = 1.0,
) -> Profile:
    """Measure a network, which is moved to the device and left in evaluation mode.

    Args:
        network: Maps images `(N, C, H, W)` to anything.
        kind: Its conv kind, for the record.
        input_shape: Shape `(C, H, W)` of an image.
        batch_size: Images in a batch, at least 2: BatchNorm cannot train on one.
        device: Where to measure, such as cpu or cuda.
        seconds: How long each latency is measured.

    Raises:
        UserError: The batch is too small, or the device is not there.
    """
    if batch_size < 2:
        raise UserError(f"batch_size must be at least 2, got {batch_size}; the latency at batch size 1 is always told")
    where = usable_device(device)
    network = network.to(where).eval()
    images = torch.randn(batch_size, *input_shape, device=where)
    shapes, flops = shapes_and_flops(network, images[:1])
    kept = kept_for_training(network, images)
    shares = time_shares(network, images)
    parameters = own_parameters(network)
    rows = [
        LayerProfile(name, layer, shapes.get(name), parameters[name], flops[name], kept[name], shares.get(name, 0.0))
        for name, layer in [
            *((name, type(layer).__name__) for layer, name in layers_of(network).items()),
            (OUTSIDE, ""),
        ]
    ]
    sizes = (1, batch_size)
    with torch.inference_mode():
        times = in_turns([Task(partial(network, images[:size])) for size in sizes], seconds=seconds * len(sizes))
    return Profile(
        network=type(network).__name__,
        kind=kind,
        input_shape=input_shape,
        batch_size=batch_size,
        layers=tuple(rows),
        parameters=sum(row.parameters for row in rows),
        flops=sum(row.flops for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
        latency=tuple(map(Latency.of, times, sizes)),
        device=device_name(where),
        threads=torch.get_num_threads(),
    )
