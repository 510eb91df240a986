"""Does a killed command lose anything? Commands are killed (`kill -9`) at many moments, and compared with whole ones.

    python benchmarks/kills.py [--fit 90] [--checkpoint 10] [--others 5] [--output runs/kills] [--seed 0]

A training is killed again and again, at moments spread over its whole length and in the middle of writing a checkpoint,
and continued each time with `--ckpt_path`; at its end its weights, the states of its optimizer and random generators,
its metrics and its result must equal those of a training that was never disturbed, and nothing else may be left. So
with `report`, `export` and `predict`, which are killed and run again: after a kill there is the old file or none.

Each command runs in a process of its own, forked from this one, which has imported everything: so that a kill takes
the time of what it disturbs. Linux and macOS.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from adaptconv_cli.main import main

import lit_adaptconv.files
from lit_adaptconv.train import checkpoint as checkpoints

NETWORK = '''
import time
from torch import nn
from lit_adaptconv.models.backbones import Backbone


class Dropping(Backbone):
    """Draws from the global random generator in every step, and is slow enough to be killed in any of them."""

    def __init__(self, in_channels, num_classes, image_size, conv=nn.Conv2d, width=1.0):
        super().__init__()
        self.widths = (4,)
        first = conv(in_channels, 4, 5, stride=4)
        norm, drop = nn.BatchNorm2d(4), nn.Dropout(0.3)
        self.layers = nn.Sequential(first, norm, drop, nn.Flatten(), nn.Linear(4 * 6 * 6, num_classes))

    def forward(self, images):
        time.sleep(0.005)
        return self.layers(images)
'''
CLOCK = ("seconds", "started", "git_commit", "path", "name", "BestCheckpoint", "LastCheckpoint")
"""What differs between two runs that are the same: times, and the names and paths of the run."""
Patch = Callable[[], None]


def training(name: str) -> list[str]:
    """The command line of the training."""
    return [
        *("fit", "--run.wandb", "false", "--trainer.enable_progress_bar", "false", "--run.name", name, "--run.id", "1"),
        *("--model.backbone", "dropping.Dropping", "--trainer.max_epochs", "4", "--trainer.val_check_interval", "0.5"),
        *("--data.shift", "2"),
    ]


def start(args: Sequence[str], patch: Patch | None = None) -> int:
    """Start a command in a process of its own, its output in `log.txt`.

    Args:
        args: Its arguments.
        patch: Is called in that process first.

    Returns:
        The process's id.
    """
    assert threading.active_count() == 1, "a process of several threads cannot be forked"
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if patch is not None:
            patch()
        status = main(list(args))
        sys.stdout.flush()
    finally:
        os._exit(status)


def run(args: Sequence[str], patch: Patch | None = None, seconds: float | None = None) -> int:
    """Run a command to its end, or kill it after so many seconds; return its status, negative if it was killed."""
    pid = start(args, patch)
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (ended := os.waitpid(pid, os.WNOHANG))[0]:
                return os.waitstatus_to_exitcode(ended[1])
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_checkpoint(number: int, how: str) -> Patch:
    """Kill the process in its n-th checkpoint: when half is written; or in its n-th file, before it has its name."""
    left = [number]
    save, fsync, replace = torch.save, os.fsync, os.replace

    def last() -> bool:
        left[0] -= 1
        return left[0] == 0

    def half(content: object, file: io.BufferedWriter) -> None:
        whole = io.BytesIO()
        save(content, whole)
        if last():
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            die()
        file.write(whole.getvalue())

    def patch() -> None:
        if how == "half":
            checkpoints.torch.save = half  # type: ignore[attr-defined]
        elif how == "fsync":
            lit_adaptconv.files.os.fsync = lambda descriptor: die() if last() else fsync(descriptor)  # type: ignore
        else:
            lit_adaptconv.files.os.replace = lambda a, b: die() if last() else replace(a, b)  # type: ignore

    return patch


def without_clock(value: Any) -> Any:
    """A nested state without times, and the names and paths of the run."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if not any(word in str(k) for word in CLOCK)}
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), value.tolist())
    return [without_clock(v) for v in value] if isinstance(value, (list, tuple)) else value


def state_of(folder: Path) -> dict[str, Any]:
    """All that a finished run has left, without times."""
    found: dict[str, Any] = {"files": sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))}
    for name in ("last.ckpt", "best.ckpt"):
        found[name] = without_clock(torch.load(folder / "checkpoints" / name, weights_only=True))
    found["result.json"] = without_clock(json.loads((folder / "result.json").read_text()))
    names, *rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(names) if "seconds" not in name]
    found["metrics.csv"] = [[row[i] for i in kept] for row in (names, *rows)]
    return found


def resumed(name: str) -> list[str]:
    """The command line that goes on with a run, or begins it where its configuration is not written yet."""
    folder = Path("runs") / name / "1"
    if (folder / "config.yaml").is_file():
        return ["fit", "--ckpt_path", str(folder / "checkpoints" / "last.ckpt")]
    return training(name)


def disturbed(name: str, kills: int, draw: random.Random, seconds: float, in_checkpoint: bool) -> tuple[int, bool]:
    """Train with kills to the end.

    Args:
        name: Name of the run.
        kills: At most so many.
        draw: Draws the moments.
        seconds: How long an undisturbed run takes.
        in_checkpoint: Whether it is killed in the middle of writing, which is certain, or at any moment.

    Returns:
        The number of kills, and whether the training ended before the last of them.
    """
    killed, early = 0, False
    for _ in range(kills):
        if in_checkpoint:
            how = draw.choice(["half", "half", "fsync", "replace"])
            most = 4 if how == "half" else 12  # further files are written whole, too
            status = run(resumed(name), killed_in_checkpoint(draw.randint(1, most), how))
        else:
            status = run(resumed(name), seconds=draw.uniform(0, seconds))
        if status >= 0:
            assert status == 0, Path("log.txt").read_text()[-2000:]
            early = True
            break
        killed += 1
        limit = len(list(Path("runs", name, "1").rglob(".*.tmp")))
        assert limit <= 1, f"{limit} temporary files have stayed: what a killed process left is not removed"
    status = run(resumed(name))
    assert status == 0, Path("log.txt").read_text()[-2000:]
    return killed, early


def contents(folder: Path) -> dict[str, str]:
    """The files of a folder by their hashes."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kill_others(kills: int, draw: random.Random) -> Iterator[str]:
    """Kill commands that write files, and run them again; yield what was seen."""
    last = "runs/whole/1/checkpoints/last.ckpt"
    sweep = Path(__file__).resolve().parents[1] / "docs" / "results" / "digits"
    commands = {
        "predict": ["predict", "--ckpt_path", last, "--trainer.enable_progress_bar", "false", "--output"],
        "export": ["export", last, "--seconds", "0.01", "--test_images", "20", "--output"],
        "report": ["report", str(sweep), "--no-pictures", "--output"],
    }
    outputs = {"predict": "predictions.csv", "export": "network.onnx", "report": "report"}
    for command, args in commands.items():
        folder = Path(command)
        folder.mkdir()
        output = folder / outputs[command]
        begin = time.monotonic()
        assert run([*args, str(output)]) == 0, Path("log.txt").read_text()[-2000:]
        seconds = time.monotonic() - begin
        whole = contents(folder)
        seen, killed, leftovers = set(), 0, 0
        while killed < kills:
            shutil.rmtree(folder)
            folder.mkdir()
            if killed % 2:
                status = run([*args, str(output)], killed_in_checkpoint(1, draw.choice(["fsync", "replace"])))
            else:
                status = run([*args, str(output)], seconds=draw.uniform(0.2, 1) * seconds)
            if status >= 0:
                continue
            killed += 1
            found = contents(folder)
            leftovers += sum(name.endswith(".tmp") for name in found)
            for name in found.keys() & whole.keys():
                assert found[name] == whole[name] or command == "report", (name, "is cut short or another")
                seen.add(name)
            assert run([*args, str(output)]) == 0
            again = contents(folder)
            assert again.keys() == whole.keys(), "what the killed process left is still there"
            assert all(again[name] == whole[name] for name in whole if not name.endswith(".html"))
        yield f"{command}: {killed} kills left {leftovers} temporary files, which are gone; results the same"


@contextmanager
def place(folder: Path) -> Iterator[None]:
    """Work in an empty folder, which has the network."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    Path("dropping.py").write_text(NETWORK)
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(folder.resolve()))


def campaign(output: Path, fit: int, in_checkpoint: int, others: int, seed: int) -> Iterator[str]:
    """Kill, and yield what was seen; an `AssertionError` tells what was lost."""
    draw = random.Random(seed)
    with place(output.absolute()):
        begin = time.monotonic()
        assert run(training("whole")) == 0, Path("log.txt").read_text()[-2000:]
        seconds = time.monotonic() - begin
        expected = state_of(Path("runs/whole/1"))
        for what, wanted in (("at any moment", fit), ("in the middle of writing", in_checkpoint)):
            killed = runs = 0
            while killed < wanted:
                name = f"{what.split()[-1]}{runs}"
                most = min(10, wanted - killed)
                more, early = disturbed(name, most, draw, seconds, what != "at any moment")
                killed, runs = killed + more, runs + 1
                if early and not more:  # the machine has become faster, as when others have left it
                    seconds *= 0.8
                found = state_of(Path("runs", name, "1"))
                differing = [part for part in expected if found[part] != expected[part]]
                assert not differing, f"{name}: {differing} differ"
                assert not list(Path("runs", name).glob(".*")), "a lock has stayed"
            if wanted:
                yield f"fit: {killed} kills {what} in {runs} runs of {seconds:.1f} s, all ends the same"
        if others:
            yield from kill_others(others, draw)


def command_line() -> None:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=int, default=90, help="kills of a training at any moment")
    parser.add_argument("--checkpoint", type=int, default=10, help="kills of a training in the middle of writing")
    parser.add_argument("--others", type=int, default=5, help="kills of each of report, export and predict")
    parser.add_argument("--output", type=Path, default=Path("runs") / "kills")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for line in campaign(args.output, args.fit, args.checkpoint, args.others, args.seed):
        print(line, flush=True)


if __name__ == "__main__":
    import importlib

    for module in ("adaptconv_cli.training", "adaptconv_cli.export", "adaptconv_cli.report", "lit_adaptconv.export"):
        importlib.import_module(module)
    command_line()
