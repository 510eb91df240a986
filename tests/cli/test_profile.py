from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from adaptconv_cli.main import main

from .conftest import Command

pytestmark = pytest.mark.usefixtures("folder")
FAST = ["--seconds", "0.01", "--batch_size", "2"]


def test_a_config_is_profiled_without_training(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("model:\n  backbone: LeNet5\n  kind: standard\ntrainer:\n  max_epochs: 3\n")
    assert main(["profile", "--config", "config.yaml", "--output", "out/p.json", *FAST]) == 0
    out = capsys.readouterr().out
    assert "61,706" in out
    assert "845,852" in out
    assert "features.3" in out
    content = json.loads(Path("out/p.json").read_text())
    assert (content["parameters"], content["flops"], content["batch_size"]) == (61_706, 845_852, 2)


def test_a_checkpoint_is_profiled_with_its_runs_network(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--ckpt_path", str(checkpoint), "--output", "p.json", *FAST]) == 0
    content = json.loads(Path("p.json").read_text())
    assert content["kind"] == "adaptive"
    assert content["input_shape"] == [1, 16, 16]
    result = json.loads((checkpoint.parent.parent / "result.json").read_text())
    assert (content["parameters"], content["flops"]) == (result["parameters"], result["flops"])
    assert "AdaptiveConv2d" in capsys.readouterr().out


def test_last_means_the_newest_run(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--data.image_size", "12", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    assert fit("--model.kind", "separable", *small) == 0
    capsys.readouterr()
    assert main(["profile", "--ckpt_path", "last", *FAST]) == 0
    assert "LeNet5, separable" in capsys.readouterr().out


def test_threads_are_what_was_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        assert main(["profile", "--threads", "1", "--output", "p.json", *FAST]) == 0
        assert json.loads(Path("p.json").read_text())["threads"] == 1
    finally:
        torch.set_num_threads(before)
