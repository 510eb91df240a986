"""Does a sweep lose anything? It is killed with `kill -9` at random moments and compared with an undisturbed one.

    python benchmarks/sweep_kill.py --plan configs/sweeps/digits.yaml [--kills 20] [--output runs/kill] [--seed 0]
        [--in-training] [--pause SHORTEST LONGEST]

Half of the kills hit the driver, which is then started again, half a worker. The sweep must end with a
`results.parquet` that equals the undisturbed one's in every column but times. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lit_adaptconv.sweep.store import read_results

TIMES = ("training_seconds", "started", "step_seconds")
LONGEST_MINUTES = 30
"""From the last kill to the end."""


@dataclass(frozen=True)
class Sweep:
    """A plan that is run in a folder by a driver of its own."""

    plan: Path
    folder: Path
    arguments: tuple[str, ...] = ()

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "adaptconv_cli.main", "sweep", "--config", str(self.plan)]
        command += ["--output", str(self.folder), *self.arguments]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def results(self) -> pa.Table:
        return read_results(self.folder)


def workers(driver: int) -> list[int]:
    """Processes that run the driver's trials."""
    with contextlib.suppress(OSError):
        ids = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
        return [int(id) for id in ids if b"spawn_main" in Path(f"/proc/{id}/cmdline").read_bytes()]
    return []


def undisturbed(sweep: Sweep) -> tuple[pa.Table, float]:
    """Run a sweep to its end.

    Returns:
        Its results, and the seconds that it took.
    """
    begin = time.perf_counter()
    if (status := sweep.start().wait()) != 0:
        raise SystemExit(f"the undisturbed sweep ended with status {status}")
    return sweep.results(), time.perf_counter() - begin


def wait_for_a_checkpoint(sweep: Sweep, driver: subprocess.Popen[bytes], since: float) -> None:
    """Return when a trial has saved a checkpoint after `since` (a time of `time.time`), or the driver has ended."""
    while driver.poll() is None:
        for checkpoint in sweep.folder.rglob("*.ckpt"):
            with contextlib.suppress(FileNotFoundError):
                if checkpoint.stat().st_mtime > since:
                    return
        time.sleep(0.05)


def wait_for_workers(driver: subprocess.Popen[bytes]) -> None:
    """Return when the driver has started workers, or has ended."""
    while driver.poll() is None and not workers(driver.pid):
        time.sleep(0.05)


def disturbed(
    sweep: Sweep,
    kills: int,
    pause: tuple[float, float],
    random: random.Random,
    *,
    in_training: bool = False,
) -> tuple[pa.Table, list[str]]:
    """Run a sweep to its end, killing its driver and its workers in turn.

    Args:
        sweep: The sweep.
        kills: Number of kills.
        pause: Shortest and longest time between two kills, in seconds.
        random: Draws the moments and the workers.
        in_training: Whether the pause begins with the first checkpoint after the last kill, so that every kill finds a
            trial in training, however fast the machine is. Otherwise kills hit the start-up of processes, too.

    Returns:
        Its results, and what was killed.
    """
    killed: list[str] = []
    driver = sweep.start()
    try:
        while len(killed) < kills:
            if in_training:
                wait_for_a_checkpoint(sweep, driver, since=time.time())
            elif len(killed) % 2:
                wait_for_workers(driver)
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = driver.wait(random.uniform(*pause))
                print(f"the sweep ended with status {status} after {len(killed)} kills: nothing is left to disturb")
                return sweep.results(), killed
            victims = workers(driver.pid)
            if len(killed) % 2 and victims:
                victim = random.choice(victims)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                killed.append("a worker")
            else:
                driver.kill()
                driver.wait()
                killed.append("the driver")
                driver = sweep.start()
            print(f"killed {killed[-1]}", flush=True)
        deadline = time.monotonic() + 60 * LONGEST_MINUTES
        while (status := driver.wait(max(0.0, deadline - time.monotonic()))) != 0:
            # A trial whose worker was killed more often than the plan retries has failed; running again repeats it.
            if status != 3:
                raise SystemExit(f"the disturbed sweep ended with status {status}")
            driver = sweep.start()
        return sweep.results(), killed
    finally:
        driver.kill()


def difference(one: pa.Table, other: pa.Table) -> list[str]:
    """Columns in which two sweeps' results differ, times left out; rows are matched by trial."""
    if one.column_names != other.column_names:
        return sorted(set(one.column_names) ^ set(other.column_names))
    one, other = (table.sort_by("trial") for table in (one, other))
    timeless = [name for name in one.column_names if name not in TIMES and not name.startswith("seconds_to_")]
    return [name for name in timeless if not one[name].equals(other[name])]


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("runs") / "kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-training", action="store_true", help="count the pause from the first checkpoint on")
    parser.add_argument("--pause", type=float, nargs=2, default=(2.0, 25.0), help="seconds between two kills")
    parser.add_argument("arguments", nargs="*", help="further arguments of `adaptconv sweep`, after --")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    sweeps = [Sweep(args.plan, args.output / name, tuple(args.arguments)) for name in ("undisturbed", "disturbed")]
    expected, seconds = undisturbed(sweeps[0])
    print(f"undisturbed: {expected.num_rows} trials in {seconds:.0f} s")
    begin = time.perf_counter()
    pause, chance = (args.pause[0], args.pause[1]), random.Random(args.seed)
    results, killed = disturbed(sweeps[1], args.kills, pause, chance, in_training=args.in_training)
    differing = difference(expected, results)
    print(
        f"disturbed: {results.num_rows} trials in {time.perf_counter() - begin:.0f} s, killed the driver "
        f"{killed.count('the driver')} times and a worker {killed.count('a worker')} times"
    )
    print(f"columns that differ, times left out: {', '.join(differing) or 'none'}")
    sys.exit(bool(differing))


if __name__ == "__main__":
    run()
