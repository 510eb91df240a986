"""How many networks a second are trained as one stacked network, beside one after the other.

    python benchmarks/stacked.py [--device cuda] [--members 64] [--batch-size 128] [--rounds 3] [--processes 16]
                                 [--mnist FOLDER]

Each round trains every kind's network (four blocks, 2,500 parameters) on the digits or MNIST, first alone, then so many
at once; in the end so many processes train one each at the same time. Starts, evaluations and what is compiled are not
counted. The ratio is that of networks a second, with the smallest and the largest of all rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from lit_adaptconv.measure.environment import device_name, versions
from lit_adaptconv.train.quiet import quieten
from lit_adaptconv.train.stacked.network import StackedNetwork
from lit_adaptconv.train.stacked.random_state import MemberRandom
from lit_adaptconv.train.stacked.training import train_together
from lit_adaptconv.train.training import Training

KINDS: dict[str, dict[str, Any]] = {
    "standard": {"kind": "standard"},
    "low rank": {"kind": "adaptive_low_rank", "kind_options": {"rank": 1}},
    "separable": {"kind": "separable"},
    "adaptive": {"kind": "adaptive"},
}

LONGEST = 600
"""Seconds that one process waits for another, which may have died."""


def config(folder: str, kind: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    model = {"backbone": {"class_path": "lit_adaptconv.models.ConvNet"}, "budget": options.budget, **KINDS[kind]}
    images = {"image_size": options.image_size} if options.mnist is None else {"root": options.mnist}
    return {
        "subcommand": "fit",
        "fit": {
            "seed_everything": seed,
            "data": {
                "class_path": f"lit_adaptconv.data.{'Digits' if options.mnist is None else 'MNIST'}",
                "init_args": {"batch_size": options.batch_size, "shift": 1, **images},
            },
            "model": model,
            "trainer": {
                "max_epochs": options.epochs,
                "check_val_every_n_epoch": options.epochs,
                "accelerator": "cpu" if options.device == "cpu" else "gpu",
                "devices": 1,
                "enable_progress_bar": False,
            },
            "run": {"root": folder, "name": kind.replace(" ", "_"), "wandb": False, "test": False},
        },
    }


def seconds_of(folder: str) -> float:
    """The longest training of those in a folder; of a stack all are as long."""
    return float(max(json.loads(path.read_text())["training_seconds"] for path in Path(folder).glob("*/*/result.json")))


def alone(kind: str, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as folder:
        Training(config(folder, kind, 0, options))
        return 1.0 / seconds_of(folder)


def warm(kind: str, options: argparse.Namespace) -> None:
    """Compile what is compiled for a network alone and in a stack, for batches of every size that will come."""
    with tempfile.TemporaryDirectory() as folder:
        once = argparse.Namespace(**{**vars(options), "epochs": 1})
        training = Training(config(folder, kind, 0, once))
        network = training.model.network.to(options.device)
        state = torch.cuda.get_rng_state() if options.device == "cuda" else torch.get_rng_state()
        random = MemberRandom([state] * options.members, torch.device(options.device))
        for size in {batch.indices.numel() for batch in training.datamodule.train_dataloader().planned()}:
            images = torch.zeros(options.members, size, *training.model.image_shape, device=options.device)
            stack = StackedNetwork([network] * options.members)
            stack(images, random).sum().backward()  # type: ignore[no-untyped-call]


def stacked(kind: str, options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as folder:
        configs = [config(folder, kind, seed, options) for seed in range(options.members)]
        for number, each in enumerate(configs):
            each["fit"]["run"]["id"] = str(number)
        errors = [error for error in train_together(configs).values() if error is not None]
        if errors:
            raise errors[0]
        return float(options.members / seconds_of(folder))


def _worker(options: argparse.Namespace, start: Any, taken: Any) -> None:
    quieten()
    torch.set_num_threads(options.threads)
    for kind in options.kinds:
        alone(kind, options)  # warm
    for _ in range(options.rounds):
        for kind in options.kinds:
            start.wait(LONGEST)
            taken.put((kind, alone(kind, options)))
            start.wait(LONGEST)


def processes(options: argparse.Namespace) -> dict[str, list[float]]:
    """The networks a second of processes that train at the same time, by kind."""
    context = multiprocessing.get_context("spawn")
    start, taken = context.Barrier(options.processes), context.Queue()
    workers = [context.Process(target=_worker, args=(options, start, taken)) for _ in range(options.processes)]
    for worker in workers:
        worker.start()
    rates: dict[str, list[float]] = {kind: [] for kind in options.kinds}
    for _ in range(options.rounds * len(options.kinds)):
        found = [taken.get(timeout=LONGEST) for _ in workers]
        rates[found[0][0]].append(options.processes * min(rate for _, rate in found))
    for worker in workers:
        worker.join()
    return rates


def _line(kind: str, how: str, many: list[float], one: list[float]) -> str:
    ratios = [together / alone for together, alone in zip(many, one, strict=True)]
    return (
        f"{kind}: {how}, {statistics.median(ratios):.2f} times as many networks a second as one "
        f"({min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--budget", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--mnist", help="a folder with MNIST in it; else the digits are used")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.device != "cpu" and not torch.accelerator.is_available():
        sys.exit(f"benchmarks/stacked.py --device {options.device} needs a GPU that PyTorch can use.")
    warnings.simplefilter("ignore")
    quieten()
    torch.set_num_threads(options.threads)
    ways = {"alone": alone, "stacked": stacked}
    found: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in ways} for kind in options.kinds}
    for kind in options.kinds:
        warm(kind, options)
    for _ in range(options.rounds):
        for kind, rates in found.items():
            for way, run in ways.items():
                rates[way].append(run(kind, options))
    print(f"{device_name(torch.device(options.device))}, {options.threads} threads, {versions()['torch']}")
    for kind, rates in found.items():
        print(_line(kind, f"{options.members} stacked", rates["stacked"], rates["alone"]), flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    if options.processes:
        for kind, together in processes(options).items():
            found[kind]["processes"] = together
            print(_line(kind, f"{options.processes} processes", together, found[kind]["alone"]), flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
