"""What augmenting a batch costs beside a training step of ResNet-20 on it, timed by turns on the CPU.

    python benchmarks/augmentation.py

128 images of 3×32×32, AdamW, one thread. A ratio is that of the two medians of 15 rounds; in a round every augmentation
makes a batch once, and the network takes a step.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from lit_adaptconv.data.augment import Transforms
from lit_adaptconv.data.order import generator
from lit_adaptconv.data.preprocess import Preprocess
from lit_adaptconv.models import ResNet20

ROUNDS = 15
SHAPE = (128, 3, 32, 32)
TRANSFORMS: dict[str, list[nn.Module]] = {
    "shift and flip": [],
    "RandomHorizontalFlip": [v2.RandomHorizontalFlip()],
    "RandomCrop(32, padding=4)": [v2.RandomCrop(32, padding=4)],
    "TrivialAugmentWide": [v2.TrivialAugmentWide()],
    "RandAugment": [v2.RandAugment()],
    "RandomErasing": [v2.RandomErasing()],
    "MixUp": [v2.MixUp()],
    "CutMix": [v2.CutMix()],
}


def seconds(work: Callable[[], object]) -> float:
    """Seconds that work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def augmenting(transforms: list[nn.Module]) -> Callable[[], object]:
    """What makes a batch; every augmentation but the first is made without shift and flip, whose cost is known."""
    images, labels = torch.randint(0, 256, SHAPE, dtype=torch.uint8), torch.randint(0, 10, SHAPE[:1])
    chosen = Transforms(transforms, 10) if transforms else None
    shift, flip = (0, False) if transforms else (4, True)
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3, shift, flip, torch.device("cpu"), chosen)
    numbers = generator(0)

    def make() -> object:
        return preprocess(images, labels, preprocess.draw([len(images)], numbers))

    return make


def step() -> Callable[[], object]:
    """A training step."""
    network = ResNet20()
    optimizer = torch.optim.AdamW(network.parameters())
    images, labels = torch.randn(SHAPE), torch.randint(0, 10, SHAPE[:1])

    def take() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return take


def main() -> None:
    """Print a table."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    works = {"a step of ResNet-20": step(), **{name: augmenting(each) for name, each in TRANSFORMS.items()}}
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS + 2):
        for name, work in works.items():
            spent = seconds(work)
            if number >= 2:  # warmed up
                times[name].append(spent)
    whole, *_ = medians = [median(each) for each in times.values()]
    print(f"PyTorch {torch.__version__}, one thread, {platform.processor() or platform.machine()}")
    print("\n| | ms | of a step |\n| --- | --- | --- |")
    for name, each in zip(works, medians, strict=True):
        print(f"| {name} | {1000 * each:.1f} | {each / whole:.1%} |")


if __name__ == "__main__":
    main()
