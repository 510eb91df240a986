"""How long a training step of `ConvNet` takes channels-last, as a ratio to the usual layout, for each conv kind.

    python benchmarks/memory_layout.py [--budget 6500] [--rounds 9]

Both are timed in turns in one process, on one thread, with 128 images of 1×28×28.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from lit_adaptconv.layers.kinds import Conv, conv_kind, kinds
from lit_adaptconv.models.backbones import ConvNet
from lit_adaptconv.models.backbones.base import Width
from lit_adaptconv.models.budget import fit_budget


def network(conv: Conv, width: Width, channels_last: bool = False) -> ConvNet:
    return ConvNet(
        conv=conv,
        width=width,
        channels=(6, 8, 12, 12),
        pool_after=(0, 1, 2),
        standard_first=True,
        channels_last=channels_last,
    )


def step(model: ConvNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds of forward and backward."""
    start = time.perf_counter()
    cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=6500)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = torch.randn(128, 1, 28, 28), torch.randint(0, 10, (128,))
    for kind in kinds():
        fitted = fit_budget(network, conv_kind(kind), arguments.budget)
        pair = [network(conv_kind(kind), fitted.widths, channels_last) for channels_last in (False, True)]
        for model in pair:
            step(model, images, labels)
        times = np.array([[step(model, images, labels) for model in pair] for _ in range(arguments.rounds)])
        low, median, high = np.quantile(times[:, 1] / times[:, 0], (0.25, 0.5, 0.75))
        widths = "-".join(map(str, fitted.widths))
        print(f"{kind:28} {widths:12} × {median:.2f} (quartiles {low:.2f} to {high:.2f}, n = {arguments.rounds})")


if __name__ == "__main__":
    main()
