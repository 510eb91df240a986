"""What an installation without the extras can do, and what each command says that needs one."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from adaptconv_cli.extras import EXTRAS, missing_extra

HIDDEN = [package for package in (*EXTRAS, "datasets") if package != "scipy"]  # that comes with scikit-learn
FIT = [
    "fit",
    "--config",
    "smoke",
    "--trainer.max_epochs",
    "1",
    "--run.name",
    "a",
    "--trainer.enable_progress_bar=false",
]


def run_without_extras(folder: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Exit status and standard error of commands, called one after the other where no extra is installed."""
    program = f"""
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({HIDDEN!r}))
from adaptconv_cli.main import main
found = []
for command in {list(commands)!r}:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        found.append((main(command), errors.getvalue()))
print(json.dumps(found))
"""
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return [(status, errors) for status, errors in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.slow
def test_a_command_that_lacks_its_extra_says_which(tmp_path: Path) -> None:
    lacking = {
        "pyarrow is needed: pip install 'lit-adaptconv[sweep]'": [
            ["sweep", "--config", "sweeps/digits"],
            ["status", "."],
        ],
        "datasets is needed: pip install 'lit-adaptconv[huggingface]'": [
            ["fit", "--data", "HuggingFace", "--data.path", "x"]
        ],
        "plotly is needed: pip install 'lit-adaptconv[report]'": [["kernels"]],
        "pip install 'lit-adaptconv[": [["report", "."]],
    }
    lines = [line for line, commands in lacking.items() for _ in commands]
    found = run_without_extras(tmp_path, *itertools.chain(*lacking.values()))
    for line, (status, errors) in zip(lines, found, strict=True):
        assert status == 1
        assert errors.startswith("adaptconv: error: ")
        assert errors.count("\n") == 1
        assert line in errors


@pytest.mark.slow
def test_without_any_extra_networks_are_trained_used_and_measured(tmp_path: Path) -> None:
    checkpoint = ["--ckpt_path", "last"]
    commands = [
        FIT,
        ["validate", *checkpoint],
        ["test", *checkpoint],
        ["predict", *checkpoint, "--output", "p.csv"],
        ["compare", "runs/a"],
        ["profile", *checkpoint, "--seconds", "0.01"],
        ["export", "last", "--format", "torch-export", "--output", "n.pt2", "--seconds", "0.01"],
        ["bench", "adaptive", "--image_size", "8", "--rounds", "1", "--batch_size", "1"],
        ["kinds"],
        ["configs"],
    ]
    for command, (status, errors) in zip(commands, run_without_extras(tmp_path, *commands), strict=True):
        assert status == 0, (command, errors)
    assert (tmp_path / "p.csv").is_file()
    lacking = [
        ["predict", *checkpoint, "--output", "p.parquet"],
        ["export", "last", "--output", "n.onnx"],
        ["sweep", "--config", "sweeps/digits", "--engine", "ray"],
    ]
    extras = ("sweep", "onnx", "sweep")
    for extra, (status, errors) in zip(extras, run_without_extras(tmp_path, *lacking), strict=True):
        assert status == 1
        assert f"pip install 'lit-adaptconv[{extra}]'" in errors


def test_another_missing_module_is_an_error_of_its_own() -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert missing_extra(ImportError("cannot import name 'x' from 'y'")) is None
    assert missing_extra(ValueError("x")) is None
