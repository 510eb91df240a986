"""A killed run goes on where it stopped and ends with the same numbers, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from lit_adaptconv.backbones import Backbone
from lit_adaptconv.result import RunResult

from .conftest import FAST, command
from .test_fit import rows, same

NETWORK = """
from torch import nn
from lit_adaptconv.backbones import Backbone


class Dropping(Backbone):
    def __init__(self, in_channels, num_classes, image_size, conv=nn.Conv2d, width=1.0):
        super().__init__()
        self.widths = (4,)
        first = conv(in_channels, 4, 5, stride=4)
        self.layers = nn.Sequential(first, nn.Dropout(0.3), nn.Flatten(), nn.Linear(4 * 6 * 6, num_classes))

    def forward(self, images):
        return self.layers(images)
"""


def arguments(name: str) -> list[str]:
    return [
        *("fit", *FAST, "--run.name", name, "--run.id", "1", "--model.backbone", "dropping.Dropping"),
        *("--trainer.max_epochs", "6", "--trainer.val_check_interval", "0.5", "--data.shift", "2"),
    ]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def moved_on(file: Path, before: bytes, process: subprocess.Popen[str]) -> bool:
    return file.read_bytes() != before or process.poll() is not None


def everything(run: Path) -> tuple[dict[str, Tensor], list[dict[str, str]], dict[str, Any], Any]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    result = json.loads((run / "result.json").read_text())
    for name in ("name", "started", "training_seconds", "git_commit"):
        del result[name]
    for entry in (*result["curve"], *result["convergence"]):
        del entry["seconds"]
    return checkpoint["state_dict"], rows(run), result, checkpoint["optimizer_states"]


@pytest.fixture
def network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "dropping.py").write_text(NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_ends_as_the_undisturbed_run(network: Path, kills: int) -> None:
    undisturbed = command(network, *arguments("a"))
    _, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors
    run = network / "runs/b/1"
    moments: list[Callable[[], object]] = [
        (run / "result.json").is_file,  # before the first checkpoint
        (run / "checkpoints/last.ckpt").is_file,
    ]
    for number in range(kills):
        again = ["--ckpt_path", "last"] if number else []
        process = command(network, *arguments("b"), *again)
        if number < len(moments):
            wait_for(moments[number])
        else:
            before = (run / "metrics.csv").read_bytes()
            wait_for(partial(moved_on, run / "metrics.csv", before, process))
            time.sleep(0.01 * number)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished = command(network, *arguments("b"), "--ckpt_path", "last")
    _, errors = finished.communicate()
    assert finished.returncode == 0, errors
    one, other = everything(network / "runs/a/1"), everything(run)
    assert same(one[0], other[0])
    assert one[1:3] == other[1:3]
    assert str(one[3]) == str(other[3])
    assert not list(run.rglob("*.tmp"))


def test_interrupted_by_the_user_it_says_so_and_can_go_on(network: Path) -> None:
    longer = ["--trainer.max_epochs", "40"]
    process = command(network, *arguments("a"), *longer)
    wait_for((network / "runs/a/1/checkpoints/last.ckpt").is_file)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert RunResult.read(network / "runs/a/1/result.json").status == "interrupted"
    assert yaml.safe_load((network / "runs/a/1/config.yaml").read_text())["run"]["id"] is None
    again = command(network, *arguments("a"), *longer, "--ckpt_path", "runs/a/1/checkpoints/last.ckpt")
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert RunResult.read(network / "runs/a/1/result.json").status == "done"


def test_the_networks_of_these_tests_are_backbones() -> None:
    scope: dict[str, Any] = {}
    exec(NETWORK, scope)
    model = scope["Dropping"](1, 10, (28, 28))
    assert isinstance(model, Backbone)
    assert isinstance(model, nn.Module)
