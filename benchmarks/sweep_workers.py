"""How much faster are two workers than one, and what does a trial cost beyond its bare training?

    python benchmarks/sweep_workers.py [--plan configs/sweeps/digits.yaml] [--seeds 3] [--rounds 3]

Sweeps of one-thread trials with one worker and with two run alternately, each from nothing in a folder of its own.
Before that these run alternately in warm worker processes: `Trainer.fit` and `.test` of Lightning on the same network
and data without logger, checkpoints and callbacks; a trial as the sweep runs it, from the engine's `submit` until it
has ended; and the same with Weights & Biases, offline. Times on the clock mean something where nothing else runs; CPU
times nearly always.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import lightning.pytorch as pl
import torch
import yaml
from adaptconv_cli.sweep import parse

from lit_adaptconv.data import Digits
from lit_adaptconv.files import write_text
from lit_adaptconv.models.backbones import ConvNet
from lit_adaptconv.sweep.engines import Job
from lit_adaptconv.sweep.engines.local import LocalEngine, local_slots
from lit_adaptconv.sweep.run import prepare
from lit_adaptconv.sweep.running import run_trial
from lit_adaptconv.sweep.store import read_results
from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.runs import CONFIG

SECONDS = "benchmark_seconds"


def sweep_seconds(plan: Path, folder: Path, workers: int, seeds: int) -> tuple[float, float, float]:
    """Run a sweep.

    Returns:
        Seconds of the whole command, seconds from the start of its first trial to the end of its last, and the CPU
        seconds of all its processes.
    """
    command = [sys.executable, "-m", "adaptconv_cli.main", "sweep", "--config", str(plan), "--output", str(folder)]
    command += ["--workers", str(workers), "--cpus", "1", "--seeds", str(seeds), "--wandb", "false"]
    before, begin = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    first = min(datetime.fromisoformat(started).timestamp() for started in read_results(folder)["started"].to_pylist())
    last = max(path.stat().st_mtime for path in folder.glob("trials/*/result.json"))
    return seconds, last - first, cpu


def bare_fit(folder: Path) -> None:
    """Train and test without anything around it; in the worker process."""
    config = yaml.safe_load((folder / CONFIG).read_text())
    begin, cpu = time.perf_counter(), time.process_time()
    pl.seed_everything(config["seed_everything"], verbose=False)
    data = Digits(image_size=16, batch_size=64)
    model = ImageClassifier(ConvNet, budget=500, image_size=(16, 16))
    trainer = pl.Trainer(
        max_epochs=config["trainer"]["max_epochs"],
        val_check_interval=config["trainer"]["val_check_interval"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    _note(folder, time.perf_counter() - begin, time.process_time() - cpu)


def whole_trial(folder: Path) -> None:
    """Run a trial; in the worker process."""
    begin, cpu = time.perf_counter(), time.process_time()
    run_trial(folder)
    _note(folder, time.perf_counter() - begin, time.process_time() - cpu)


def _note(folder: Path, seconds: float, cpu: float) -> None:
    (folder / SECONDS).write_text(f"{seconds} {cpu}")


def trial_seconds(plan: Path, folder: Path, rounds: int, epochs: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds on the clock and CPU seconds of a bare training, a trial, and a trial with Weights & Biases.

    A bare training is timed from within, a trial from the engine's `submit` until its end is known.
    """
    args = ["--config", str(plan), "--trainer.max_epochs", str(epochs), "--trainer.accelerator", "cpu"]
    read, _ = parse([*args, "--arms", "{standard: {kind: standard}}", "--budgets", "[500]"])
    prepared = prepare(read)
    trial = next(iter(prepared.maker.all()))
    engines = {
        name: LocalEngine(function, local_slots(1, 1, None))
        for name, function in (("bare", bare_fit), ("trial", whole_trial))
    }
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "trial": [], "with W&B": []}
    try:
        for turn in range(rounds + 1):
            for name, found in times.items():
                engine = engines["bare" if name == "bare" else "trial"]
                config = prepared.maker.config(trial, "benchmark")
                config["run"]["wandb"] = name == "with W&B"
                place = folder / "trials" / f"{name.split()[0]}{turn}"
                begin = time.perf_counter()
                write_text(place / CONFIG, yaml.safe_dump(config))
                engine.submit(Job(place.name, place, False))
                while not (ended := engine.wait(60.0)):
                    pass
                seconds = time.perf_counter() - begin
                if ended[0][1].status != "done":
                    raise SystemExit(f"{name} ended as {ended[0][1]}")
                inside, cpu = map(float, (place / SECONDS).read_text().split())
                if turn:  # the first of each is to warm its process
                    found.append((inside if name == "bare" else seconds, cpu))
    finally:
        for engine in engines.values():
            engine.close()
    return times


def spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}, n = {len(values)})"


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=Path("configs/sweeps/digits.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a trial whose overhead is measured")
    args = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    print(f"load before: {os.getloadavg()[0]:.1f}; torch {torch.__version__}, lightning {pl.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        times = trial_seconds(args.plan, Path(folder), args.rounds, args.epochs)
        for name in ("trial", "with W&B"):
            pairs = list(zip(times["bare"], times[name], strict=True))
            print(f"{name}: seconds beyond a bare fit, {spread([t[0] - b[0] for b, t in pairs])}")
            print(f"{name}: CPU seconds beyond a bare fit, {spread([t[1] - b[1] for b, t in pairs])}", flush=True)
        ratios: list[list[float]] = [[], [], []]
        for turn in range(args.rounds):
            took = {}
            for workers in (2, 1) if turn % 2 else (1, 2):
                took[workers] = sweep_seconds(args.plan, Path(folder) / f"{turn}-{workers}", workers, args.seeds)
            one, two = took[1], took[2]
            for found, o, t in zip(ratios, one, two, strict=True):
                found.append(o / t)
            for name, (seconds, _, cpu) in (("one worker", one), ("two", two)):
                print(f"{name}: {seconds:.1f} s, {cpu:.1f} CPU s", flush=True)
        print(f"one worker / two, whole command: {spread(ratios[0])}")
        print(f"one worker / two, first trial's start to last trial's end: {spread(ratios[1])}")
        print(f"one worker / two, CPU time: {spread(ratios[2])}")
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    run()
