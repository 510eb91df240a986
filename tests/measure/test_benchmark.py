"""A whole benchmark of small layers: what it holds, and that its JSON holds it too."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from lit_adaptconv.measure import benchmark as measuring
from lit_adaptconv.measure.benchmark import Benchmark, measure, prepare, turns
from lit_adaptconv.measure.candidate import STANDARD, Candidate, Shape

SHAPE = Shape(3, 4, 4, (8, 8), (3, 3), padding=(1, 1), groups=4)
NAMES = ("standard", "adaptive@cpu", "adaptive@reference", "involution")


@pytest.fixture(scope="module")
def found() -> Benchmark:
    """Peaks, which need a process of their own, are measured in the tests of memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "peak_of_steps", lambda candidates, *_: [None] * len(candidates))
        steps = prepare([Candidate.parse(name) for name in NAMES], SHAPE)
        advanced: list[None] = []
        found = measure(steps, SHAPE, [1, 2], 3, lambda: advanced.append(None))
        assert len(advanced) == turns(steps, [1, 2], 3)
    return found


def test_the_ordinary_convolution_stands_first(found: Benchmark) -> None:
    assert [layer.candidate.name for layer in found.layers] == [STANDARD.name, *NAMES]


def test_parameters_are_those_of_the_layers(found: Benchmark) -> None:
    for layer in found.layers:
        assert layer.parameters == sum(p.numel() for p in layer.candidate.build(SHAPE).parameters())
    assert found.layers[0].parameters == sum(p.numel() for p in nn.Conv2d(4, 4, 3, groups=4).parameters())


def test_flops_are_those_of_the_batch_whatever_computes_them(found: Benchmark) -> None:
    standard, again, fused, reference, _ = found.layers
    assert standard.flops == again.flops == 3 * 2 * 4 * 9 * 64
    assert fused.flops == reference.flops == 3 * 4 * 9 * (2 * 9 + 1 + 2) * 64


def test_every_time_is_there_for_every_round_and_number_of_threads(found: Benchmark) -> None:
    for layer in found.layers:
        assert [timed.threads for timed in layer.timed] == [1, 2]
        for timed in layer.timed:
            assert len(timed.forward.seconds) == len(timed.training.seconds) == 3
    assert [limit.threads for limit in found.limits] == [1, 2]


def test_the_limit_is_the_larger_of_arithmetic_and_bytes_at_the_speeds_of_the_same_run(found: Benchmark) -> None:
    limit, layer = found.limits[0], found.layers[2]
    images = 3 * 4 * 64 * 4  # bytes of the input, and of the output
    assert (layer.forward_bytes, layer.training_bytes) == (2 * images, 5 * images)
    arithmetic = layer.flops * limit.product.spread.median / (2 * 1024**3)
    copied = limit.copy.spread.median / 2**28  # seconds of a byte, which is read or written
    timed = layer.timed[0]
    assert limit.forward_share(layer, timed) == pytest.approx(
        max(arithmetic, 2 * images * copied) / timed.forward.spread.median
    )
    assert limit.training_share(layer, timed) == pytest.approx(
        max(3 * arithmetic, 5 * images * copied) / timed.training.spread.median
    )


def test_the_first_step_is_timed(found: Benchmark) -> None:
    assert all(layer.first_step > 0 for layer in found.layers)


def test_the_fused_layer_alone_is_split_and_its_parts_have_all_its_multiply_adds(found: Benchmark) -> None:
    assert [(split.candidate.name, split.threads) for split in found.splits] == [
        ("adaptive@cpu", 1),
        ("adaptive@cpu", 2),
    ]
    for split in found.splits:
        tanh = 3 * 4 * 9 * 64
        assert 2 * sum(part.multiply_adds for part in split.parts) == 3 * (found.layers[2].flops - tanh)


def test_json_holds_everything(found: Benchmark) -> None:
    read = json.loads(found.to_json())
    assert read.pop("schema") == 2
    assert read == json.loads(json.dumps(asdict(found)))
    assert read["rounds"] == 3
    assert torch.__version__.startswith(read["machine"]["versions"]["torch"])
    assert read["layers"][2]["kept"] == {"input": 3 * 4 * 64 * 4, "parameters": 4 * 9 * 10 * 4, "other": 0}
