"""Whether ten networks come in the same order when their latency is measured twice, while the machine is busy.

python benchmarks/latency_order.py --busy 2
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import torch
from scipy.stats import kendalltau

from lit_adaptconv.export.latency import Timed, measure_latency
from lit_adaptconv.layers.kinds import conv_kind
from lit_adaptconv.measure.latency import RUNTIMES, Latencies, milliseconds
from lit_adaptconv.models.backbones import LeNet5
from lit_adaptconv.models.budget import Family

SHAPE = (1, 28, 28)
KINDS = ("standard", "separable", "adaptive_low_rank", "adaptive", "dynamic_conv")
BUDGETS = (5_000, 60_000)


def networks() -> list[Timed]:
    """The LeNet-5 of each kind within each budget."""
    found = []
    family = Family(lambda conv, width: LeNet5(SHAPE[0], 10, SHAPE[1:], conv, width))
    for budget in BUDGETS:
        for kind in KINDS:
            fit = family.fit(conv_kind(kind), budget)
            torch.manual_seed(0)
            network = LeNet5(SHAPE[0], 10, SHAPE[1:], conv_kind(kind), fit.widths).eval()
            found.append(Timed(network, SHAPE, kind, budget, kind, fit.parameters))
    return found


def burn() -> None:
    """Compute now and then, as another user of the machine does: a tenth of a second to one, then a rest."""
    random = torch.Generator().manual_seed(multiprocessing.current_process().pid or 0)
    torch.set_num_threads(1)
    while True:
        end = time.perf_counter() + 0.1 + 0.9 * float(torch.rand((), generator=random))
        while time.perf_counter() < end:
            torch.randn(200, 200) @ torch.randn(200, 200)
        time.sleep(float(torch.rand((), generator=random)) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--busy", type=int, default=2, help="Processes that compute at the same time.")
    parser.add_argument("--networks", type=int, default=10, help="The first so many.")
    options = parser.parse_args()
    timed = networks()[: options.networks]
    others = [multiprocessing.get_context("spawn").Process(target=burn, daemon=True) for _ in range(options.busy)]
    for other in others:
        other.start()
    try:
        twice = [measure_latency(timed, rounds=options.rounds, threads=options.threads, memory=False) for _ in range(2)]
    finally:
        for other in others:
            other.terminate()
    print_table(*twice)
    print(f"n = {options.rounds} turns each, {options.busy} busy processes; {twice[0].where}")


def print_table(first: Latencies, second: Latencies) -> None:
    print("| LeNet-5 | budget | onnxruntime, ms | again | PyTorch, ms | again |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one, other in zip(first.networks, second.networks, strict=True):
        cells = [one.arm, f"{one.budget:,}"]
        for runtime in RUNTIMES:
            for each in (one.of(runtime), other.of(runtime)):
                assert each is not None, one.reason
                image = each.image
                cells.append(f"{milliseconds(image.median)} ({milliseconds(image.lower)}–{milliseconds(image.upper)})")
        print(f"| {' | '.join(cells)} |")
    for runtime, name in RUNTIMES.items():
        for what in ("image", "batch"):
            values = [
                [getattr(found, what).median for network in each.networks if (found := network.of(runtime)) is not None]
                for each in (first, second)
            ]
            print(f"{name}, {what}: Kendall's tau {kendalltau(*values).statistic:.2f}")


if __name__ == "__main__":
    main()
