"""How long do a dry run of 10,000 trials and the verdict on 10,000 finished ones take, and how much memory?

    python benchmarks/sweep_scale.py [--plan configs/sweeps/digits.yaml] [--seeds 1667]

The finished trials are simulated, a `result.json` with twenty evaluations and the bits of 10,000 test images each,
where the real ones would be;
`adaptconv status` then reads them all, writes both tables and prints the verdict. Seconds, CPU seconds and memory are
those of the whole command.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from adaptconv_cli.sweep import parse

from lit_adaptconv.sweep.folder import Sweep, SweepFolder
from lit_adaptconv.sweep.run import prepare
from lit_adaptconv.sweep.trial import Trial
from lit_adaptconv.train.convergence import Evaluation
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.tested import ImageBits

IMAGES = 10_000


def simulated(trial: Trial, name: str, random: np.random.Generator) -> RunResult:
    """A finished trial that learns at a speed of its own."""
    speed = random.gamma(4, 0.1)
    accuracies = [float(0.97 - 0.87 * np.exp(-speed * i)) for i in range(1, 21)]
    curve = [
        Evaluation(10 * i, i / 2, 64 * 30 * trial.flops * i, 0.1 * i, accuracy, accuracy, 1 - accuracy)
        for i, accuracy in enumerate(accuracies, start=1)
    ]
    right = random.random(IMAGES) < accuracies[-1]
    return RunResult(
        name="trials",
        id=trial.id,
        status="done",
        data="Digits",
        backbone="ConvNet",
        kind=trial.kind,
        kind_options=trial.kind_options,
        widths=list(trial.widths),
        budget=trial.budget,
        parameters=trial.parameters,
        flops=trial.flops,
        seed=trial.seed,
        group=name,
        job_type=trial.arm,
        epochs=10,
        steps=200,
        training_seconds=2.0,
        val_value=accuracies[-1],
        best_val_value=max(accuracies),
        test_metrics={"test/accuracy": float(right.mean()), "test/loss": 1 - accuracies[-1]},
        test_images=ImageBits(IMAGES, "00000000", base64.b64encode(np.packbits(right).tobytes()).decode()),
        curve=curve,
        device="cpu",
        threads=1,
        versions={"lit-adaptconv": "0"},
        started="2026-01-01T00:00:00+00:00",
    )


def fill(folder: Path, plan_args: list[str]) -> int:
    """Write a sweep whose trials are all finished, and return their number."""
    plan, _ = parse(plan_args)
    trials = tuple(prepare(plan).maker.all())
    place = SweepFolder(folder)
    targets = tuple(plan.targets)
    place.write(Sweep(plan.name, "benchmark", "Digits", "ConvNet", targets, plan.reference, trials, len(trials)))
    random = np.random.default_rng(0)
    for trial in trials:
        simulated(trial, plan.name, random).write(place.trial(trial) / "result.json")
    return len(trials)


def measured(name: str, args: list[str]) -> None:
    """Run `adaptconv` with these arguments, and print what it took."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, "-m", "adaptconv_cli.main", *args], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name} ended with status {process.returncode}")
    print(
        f"{name}: {time.perf_counter() - begin:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} CPU s, "
        f"{usage.ru_maxrss / 1024:.0f} MiB at most",
        flush=True,
    )


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=Path("configs/sweeps/digits.yaml"))
    parser.add_argument("--seeds", type=int, default=1667)
    args = parser.parse_args()
    plan = ["--config", str(args.plan), "--seeds", str(args.seeds)]
    with tempfile.TemporaryDirectory() as folder:
        print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
        measured("the imports alone (adaptconv sweep --help)", ["sweep", "--help"])
        measured("dry run of a new plan", ["sweep", *plan, "--output", f"{folder}/new", "--dry-run"])
        number = fill(Path(folder) / "sweep", plan)
        print(f"{number:,} trials")
        measured("dry run of the finished plan", ["sweep", *plan, "--output", f"{folder}/sweep", "--dry-run"])
        measured("adaptconv status", ["status", f"{folder}/sweep"])


if __name__ == "__main__":
    run()
