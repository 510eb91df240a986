"""How long a training step of `adaptconv fit` takes beside one of a bare PyTorch loop, on a small network.

    python benchmarks/fit_overhead.py [--device cuda] [--kind adaptive] [--batch-size 128] [--rounds 5]

Both train the same four blocks (2,500 parameters of the standard kind) on the same batches of 28×28 digits with AdamW
and OneCycle, by turns in one process. Starts, evaluations and checkpoints are not counted. On a CPU a batch of 2 and
images of 8 pixels show what is not arithmetic, as a GPU would; `--cpu-time` counts what the process computes itself,
where others use the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings

import lightning.pytorch as pl
import torch
from torch import nn

from lit_adaptconv.data import Digits
from lit_adaptconv.layers import conv_kind
from lit_adaptconv.models.backbones import ConvNet
from lit_adaptconv.train.schedules import OneCycle
from lit_adaptconv.train.training import Training

CHANNELS = [8, 8, 10, 8]


class Clock(pl.Callback):
    """Seconds and steps of the training of each epoch, until the evaluation begins."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.seconds, self.steps = options, 0.0, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin, self.first = now(self.options), trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.seconds += now(self.options) - self.begin
            self.steps += trainer.global_step - self.first


class Timed(Training):
    """`fit` with the clock."""

    clock: Clock

    def shown_callbacks(self, trainer: object) -> list[pl.Callback]:
        return [self.clock]


def now(options: argparse.Namespace) -> float:
    if options.device != "cpu":
        torch.accelerator.synchronize()
    return time.process_time() if options.cpu_time else time.perf_counter()


def data(options: argparse.Namespace) -> dict[str, int]:
    return {"image_size": options.image_size, "batch_size": options.batch_size, "shift": 1}


def bare(options: argparse.Namespace) -> float:
    pl.seed_everything(0, verbose=False)
    digits = Digits(**data(options))
    digits.setup("fit")
    loader = digits.train_dataloader()
    loader._device = loader._preprocess.device = torch.device(options.device)
    loader._preprocess.scale = loader._preprocess.scale.to(options.device)
    loader._preprocess.offset = loader._preprocess.offset.to(options.device)
    size = (options.image_size, options.image_size)
    model = ConvNet(1, 10, size, conv=conv_kind(options.kind), channels=CHANNELS).to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    schedule = OneCycle(optimizer, total_steps=options.epochs * len(loader))
    begin = now(options)
    for _ in range(options.epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    return (now(options) - begin) / (options.epochs * len(loader))


def fit(options: argparse.Namespace) -> float:
    Timed.clock = Clock(options)
    backbone = {"class_path": "ConvNet", "init_args": {"channels": CHANNELS}}
    accelerator = "cpu" if options.device == "cpu" else "gpu"
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"max_epochs": options.epochs, "accelerator": accelerator, "devices": 1, "enable_progress_bar": False}
        config = {
            "data": {"class_path": "Digits", "init_args": data(options)},
            "model": {"backbone": backbone, "kind": options.kind},
            "trainer": trainer,
            "run": {"root": folder, "wandb": False, "test": False},
        }
        Timed({"subcommand": "fit", "fit": config})
    return Timed.clock.seconds / Timed.clock.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kind", default="standard")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.accelerator.is_available():
        sys.exit(f"benchmarks/fit_overhead.py --device {options.device} needs a GPU that PyTorch can use.")
    warnings.simplefilter("ignore")
    bare(options), fit(options)
    pairs = [(bare(options), fit(options)) for _ in range(options.rounds)]
    loop, command = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    ratios = [mine / other for other, mine in pairs]
    print(
        f"fit / bare loop: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}, n = "
        f"{options.rounds}; a step of the loop {loop:.3f} ms, of fit {command:.3f} ms; {options.kind}, batch "
        f"{options.batch_size}, {options.image_size} pixels, {options.device}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
