"""How much longer `adaptconv fit` takes than a bare PyTorch loop with the same model, batches and evaluation.

    python benchmarks/overhead.py [--root data] [--backbone LeNet5] [--kind adaptive] [--epochs 3] [--rounds 3]

Both are timed alternately in one process, from nothing to the tested model: reading the data, building the network,
training with AdamW and OneCycle, an evaluation of the validation split after each epoch, and the test. The command also
parses its configuration, logs, writes checkpoints and its result. The root holds MNIST as torchvision lays it out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import lightning
import torch
from adaptconv_cli.main import main
from torch import nn

from lit_adaptconv.data import MNIST
from lit_adaptconv.data.loader import BatchLoader
from lit_adaptconv.layers import conv_kind
from lit_adaptconv.models import backbones


def accuracy(model: nn.Module, loader: BatchLoader) -> float:
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += int((model(images).argmax(1) == labels).sum())
            total += len(labels)
    model.train()
    return correct / total


def bare(root: str, epochs: int, backbone: str, kind: str) -> float:
    lightning.seed_everything(0, verbose=False)
    data = MNIST(root=root)
    data.setup("fit")
    model = getattr(backbones, backbone)(conv=conv_kind(kind))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    train, val = data.train_dataloader(), data.val_dataloader()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=epochs * len(train))
    for _ in range(epochs):
        for images, labels in train:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        accuracy(model, val)
    data.setup("test")
    return accuracy(model, data.test_dataloader())


def command(root: str, epochs: int, backbone: str, kind: str, folder: str, wandb: bool) -> None:
    data = ["--data", "MNIST", "--data.root", root]
    model = ["--model.backbone", backbone, "--model.kind", kind]
    options = ["--trainer.max_epochs", str(epochs), "--run.root", folder]
    if main(["fit", *data, *model, *options, "--run.wandb", str(wandb).lower()]) != 0:
        raise SystemExit("adaptconv fit failed")


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--backbone", default="LeNet5")
    parser.add_argument("--kind", default="standard")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wandb", action="store_true", help="also log to Weights & Biases, offline without a login")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = (args.backbone, args.kind)
        bare(args.root, 1, *network)
        command(args.root, 1, *network, folder, args.wandb)
        times: dict[str, list[float]] = {"bare": [], "command": []}
        for _ in range(args.rounds):
            start = time.perf_counter()
            bare(args.root, args.epochs, *network)
            middle = time.perf_counter()
            command(args.root, args.epochs, *network, folder, args.wandb)
            times["bare"].append(middle - start)
            times["command"].append(time.perf_counter() - middle)
    ratios = [c / b for b, c in zip(times["bare"], times["command"], strict=True)]
    print(
        f"adaptconv fit / bare loop: median {statistics.median(ratios):.3f}, "
        f"from {min(ratios):.3f} to {max(ratios):.3f}, n = {args.rounds}, {args.epochs} epochs of "
        f"{args.backbone}, {args.kind}, on MNIST, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"seconds: bare {times['bare']}, command {times['command']}")


if __name__ == "__main__":
    run()
