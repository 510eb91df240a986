"""Bad values for every command: exit status 1 or 2, one line that says what would be right, nothing left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from adaptconv_cli.main import main

from .conftest import FAST, command
from .test_bad_input import one_line

SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
NETWORKS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))

class Tuple(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits

class Labels(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return logits.argmax(1) if self.training else logits

class Detached(Plain):
    def forward(self, x):
        return super().forward(x).detach()

class Asserts(Plain):
    def forward(self, x):
        assert not self.training
        return super().forward(x)

class Single(Plain):
    def forward(self, x):
        if not self.training and len(x) > 1:
            raise KeyError("mask")
        return super().forward(x)

class NoParameters(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]
"""
PLAN = """
name: s
arms: {standard: {kind: standard}, adaptive: {kind: adaptive}}
budgets: [2000]
seeds: 1
trainer: {max_epochs: 1, limit_train_batches: 2}
scheduler: null
wandb: false
"""

FIT = [
    ("--model.optimizer.lr -1", 1, "building the optimizer .*learning rate: -1"),
    ("--model.optimizer.lr abc", 2, "--model.optimizer.lr takes a number, got abc"),
    ("--model.optimizer.lr nan", 2, "--model.optimizer.lr takes a number"),
    ("--model.optimizer torch.optim.Muon", 1, "Muon only supports 2D"),
    ("--model.optimizer torch.nn.Linear", 2, "torch.nn.Linear is no Optimizer"),
    ("--model.optimizer os.system", 2, "--model.optimizer: os.system is nothing that a setting may name"),
    ("--model.optimizer null", 2, "--model.optimizer takes the name of a class got null"),
    ("--model.optimizer torch.optim.Nope", 2, "no attribute 'Nope'"),
    ("--model.optimizer torch.optim.SparseAdam", 1, "the first training step .*dense gradients"),
    ("--model.optimizer torch.optim.SGD --model.optimizer.nesterov true", 1, "Nesterov momentum requires"),
    ("--model.scheduler torch.optim.lr_scheduler.StepLR", 2, "needs step_size --model.scheduler.step_size"),
    ("--model.scheduler torch.optim.lr_scheduler.StepLR --model.scheduler.step_size 0", 1, "schedule step_size"),
    ("--model.scheduler torch.optim.lr_scheduler.CosineAnnealingLR --model.scheduler.T_max 0", 1, "schedule T_max"),
    ("--model.optimizer torch.optim.Adagrad --model.scheduler torch.optim.lr_scheduler.CyclicLR "
     "--model.scheduler.base_lr 0.1 --model.scheduler.max_lr 1", 1, "schedule momentum"),
    ("--model.scheduler lightning.pytorch.cli.ReduceLROnPlateau --model.scheduler.monitor val/nope", 1,
     "ReduceLROnPlateau 'val/nope' logged: val/accuracy, val/loss"),
    ("--model.scheduler.pct_start 2", 1, "between 0 and 1 pct_start"),
    ("--seed_everything -1", 1, "seed_everything from 0 to 4294967295"),
    ("--seed_everything 4294967296", 1, "seed_everything from 0 to 4294967295"),
    ("--seed_everything 1.5", 2, "--seed_everything takes a whole number"),
    ("--trainer.max_steps 0", 1, "trainer.max_steps at least 1"),
    ("--trainer.max_epochs 0", 1, "trainer.max_epochs at least 1 -1"),
    ("--trainer.max_epochs 1e3", 2, "--trainer.max_epochs takes a whole number or null, got 1e3"),
    ("--trainer.val_check_interval 500", 1, "val_check_interval number of the training batches"),
    ("--trainer.val_check_interval 0", 1, "trainer.val_check_interval above 0"),
    ("--trainer.limit_train_batches 0", 1, "trainer.limit_train_batches above 0"),
    ("--trainer.limit_val_batches -1", 1, "limit_val_batches"),
    ("--trainer.log_every_n_steps 0", 1, "trainer.log_every_n_steps at least 1"),
    ("--trainer.accumulate_grad_batches 0", 1, "trainer.accumulate_grad_batches at least 1"),
    ("--trainer.check_val_every_n_epoch 0", 1, "trainer.check_val_every_n_epoch at least 1"),
    ("--trainer.gradient_clip_val -1", 1, "trainer.gradient_clip_val at least 0"),
    ("--trainer.barebones true", 1, "trainer.barebones leave it out"),
    ("--trainer.devices 99", 1, "trainer.devices 99 cores LIT_ADAPTCONV_MORE_PROCESSES=1"),
    ("--trainer.devices 0", 1, "devices"),
    ("--trainer.num_nodes 3", 1, "trainer.num_nodes 3 other machines SLURM or torchrun"),
    ("--trainer.accelerator quantum", 1, "quantum cpu"),
    ("--trainer.precision 7", 2, "--trainer.precision takes one of bf16-mixed got 7"),
    ("--trainer.strategy nothing", 1, "nothing ddp"),
    ("--trainer.max_time soon", 1, "DD:HH:MM:SS"),
    ("--trainer.callbacks EarlyStopping", 2, "needs monitor --trainer.callbacks.monitor"),
    ("--trainer.callbacks EarlyStopping --trainer.callbacks.monitor val/nope", 1,
     "EarlyStopping 'val/nope' logged: val/accuracy, val/loss"),
    ("--trainer.callbacks ModelCheckpoint --trainer.callbacks.save_top_k x", 2,
     "--trainer.callbacks.save_top_k takes a whole number, got x"),
    ("--trainer.callbacks NoSuchCallback", 2, "unknown class 'NoSuchCallback' for --trainer.callbacks"),
    ("--trainer.logger TensorBoardLogger --trainer.logger.save_dir logs", 1, "tensorboard pip install"),
    ("--model.label_smoothing 2", 1, "label_smoothing between 0 and 1"),
    ("--model.width 1e6", 1, "memory smaller network"),
    ("--model.width wide", 2, "--model.width takes a number or a list, such as [1, 2], got wide"),
    ("--model.kind seperable", 1, "did you mean 'separable'?"),
    ("--model.kind_options [1]", 2, "--model.kind_options takes a mapping"),
    ("--model.backbone networks.Tuple", 1, "Tuple must give logits (128, 10) in training, got tuple"),
    ("--model.backbone networks.Labels", 1, "Labels must give logits (128, 10) torch.int64"),
    ("--model.backbone networks.Detached", 1, "the first training step require grad"),
    ("--model.backbone networks.Asserts", 1, "the first training step AssertionError networks.py"),
    ("--model.backbone networks.Single", 1, "the first validation batch KeyError 'mask' networks.py"),
    ("--model.backbone networks.NoParameters", 1, "NoParameters has no parameters"),
    ("--model.backbone torchvision.models.vit_b_16 --data.image_size 32", 1, "Wrong image height! Expected 224"),
    ("--model.backbone torch.nn.Linear", 2, "needs in_features, out_features"),
    ("--model.backbone", 2, "--model.backbone"),
    ("--data.batch_size 1.5", 2, "--data.batch_size takes a whole number, got 1.5"),
    ("--data.shift 100", 1, "shift must be smaller than the images got 100"),
    ("--data.root somewhere", 2, "--data: option 'root' is not accepted"),
    ("--data.image_size 100000", 1, "memory"),
    ("--model.budget 5kB", 2, "--model.budget takes a whole number or limits such as {parameters: 5000, flops: 2e6}"),
    ("--model.budget 0", 1, "the budget of parameters must be a whole number from 1 on, got 0"),
    ("--model.budget {}", 1, "a budget has at least one limit: parameters, flops, bytes"),
    ("--model.budget.flops 2MFLOPs", 2, "--model.budget.flops takes a number or null, got 2MFLOPs"),
    ("--model.budget.flops -1", 1, "the budget of FLOPs must be a whole number from 1 on, got -1"),
    ("--model.budget.bytes 0.5", 1, "the budget of bytes must be a whole number from 1 on, got 0.5"),
    ("--model.budget.flop 3", 2, "--model.budget: option 'flop' is not accepted; did you mean 'flops'?"),
    ("--model.budget.dtype int9", 2, "--model.budget.dtype takes one of float64, float32, float16, bfloat16, got int9"),
    ("--model.budget.dtype float16", 1, "a budget has at least one limit: parameters, flops, bytes"),
    ("--model.budget.flops 9", 1, "at most 9 FLOPs: the narrowest (widths 1-1-1-1) has"),
    ("--model.budget 5000 --model.budget.bytes 9", 1, "at most 9 bytes: the narrowest (widths 1-1-1-1) has"),
    ("--model.convert.kind adaptive --model.convert.budget.flops 9", 1, "budget of 9 FLOPs smallest result"),
    ("--run.budget -1", 1, "run.budget: the budget of parameters must be a whole number from 1 on, got -1"),
    ("--run.name a/b", 1, "run.name plain name of a folder"),
    ("--run.name " + "x" * 300, 1, "File name too long"),
    ("--run.tags a", 2, "--run.tags takes a list, such as [a]"),
    ("--run.root text", 1, "Not a directory"),
    ("--convergence.targets 0.9", 2, "--convergence.targets takes a list, such as [0.9]"),
    ("--convergence.monitor val/nope", 1, "convergence.monitor 'val/nope' logged: val/accuracy, val/loss"),
    ("--config bytes.yaml", 2, "settings utf-8"),
    ("--config list.yaml", 2, "a configuration holds settings"),
    ("--config nul.yaml", 2, "--run.name NUL"),
    ("--config empty", 2, "no configuration 'empty'"),
    ("--ckpt_path empty", 1, "empty is a folder: give the file of a checkpoint"),
    ("--ckpt_path missing.ckpt", 1, "no checkpoint at 'missing.ckpt'"),
    ("--ckpt_path text", 1, "text is not a checkpoint"),
]  # fmt: skip
OTHERS = [
    ("test --ckpt_path empty", 1, "empty is a folder"),
    ("validate --ckpt_path text", 1, "text is not a checkpoint"),
    ("predict --ckpt_path text --output p.xlsx", 1, ".csv or .parquet"),
    ("compare empty --min_test_accuracy 90", 1, "min_test_accuracy between 0 and 1, such as 0.9"),
    ("compare empty", 1, "no run empty"),
    ("profile --seed_everything -1", 1, "seed_everything from 0"),
    ("profile --seconds -1", 1, "seconds above 0"),
    ("profile --threads 100000000", 1, "threads at most 1024"),
    ("profile --batch_size 100000000", 1, "measuring the network memory smaller"),
    ("profile --device banana", 1, "device 'banana' cpu"),
    ("profile --output empty", 1, "empty is a folder: give the name of a file"),
    ("kernels --model.kind adaptive --positions []", 1, "positions [[row, column], ...]"),
    ("kernels --output x.gif", 1, ".html .png"),
    ("export", 1, "export needs a trained network"),
    ("export text --output x.onnx", 1, "text is not a checkpoint"),
    ("export text --output x.onnx --format tflite", 2, "--format takes one of onnx, torch-export, got tflite"),
    ("bench adaptive --output empty", 1, "empty is a folder"),
    ("bench adaptive --threads [100000000]", 1, "threads at most 1024"),
    ("bench adaptive --image_size [1,2,3]", 2, "--image_size takes a whole number or a list of 2"),
    ("bench seperable", 1, "did you mean 'separable'?"),
    ("bench adaptive --batch_size 100000000 --image_size 1000", 1, "memory"),
    ("status text", 1, "text/sweep.json"),
    ("report empty", 1, "empty is not the folder of a sweep"),
    ("configs nope", 2, "no configuration 'nope'"),
    ("kinds nope", 2, "unexpected argument 'nope'"),
    ("sweep --config plan.yaml --budgets 5000", 2, "--budgets takes a list, such as [5000], got 5000"),
    ("sweep --config plan.yaml --workers 0", 1, "workers at least 1"),
    ("sweep --config plan.yaml --trainer.max_epochs 0", 1, "trainer.max_epochs at least 1"),
    ("sweep --config plan.yaml --trainer.devices 99", 1, "trainer.devices 99 cores"),
    ("sweep --config plan.yaml --first_seed 4294967296", 1, "first_seed below"),
    ("sweep --config plan.yaml --arms {a:{budgets:[1,2]}}", 2, "--arms"),
    ("sweep --config plan.yaml --arms.adaptive.budgets [1000,2000]", 1, "budgets [1000, 2000] the plan's, [2000]"),
    ("sweep --config plan.yaml --label_smoothing 2", 1, "label_smoothing between 0 and 1"),
    ("sweep --config bytes.yaml", 2, "settings utf-8"),
    ("sweep --config plan.yaml --engine pbs", 2, "--engine takes one of local, ray, slurm, got pbs"),
]  # fmt: skip
"""A command line, its exit status, and words that the line has, in this order."""


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with bad files, and networks that fail one way or the other."""
    (folder / "empty").mkdir()
    (folder / "text").write_text("no checkpoint")
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x80abc")
    (folder / "list.yaml").write_text("- 1\n- 2\n")
    (folder / "nul.yaml").write_text('run: {name: "a\\0b"}\n')
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def in_order(words: str, line: str) -> bool:
    """Whether a line has these words; a phrase is what stands in it as it is."""
    place = 0
    for word in words.replace(" .*", " ").split():
        place = line.find(word, place) + len(word)
        if place < len(word):
            return False
    return True


def left_behind(folder: Path) -> list[str]:
    return [str(path) for path in folder.iterdir() if path.name not in FILES and path.name != "__pycache__"]


FILES = ("empty", "text", "bytes.yaml", "list.yaml", "nul.yaml", "plan.yaml", "networks.py", "home")


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("line", "status", "words"),
    [*((f"fit {line}", status, words) for line, status, words in FIT), *OTHERS],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)
def test_a_bad_value_is_one_line_that_says_what_would_be_right(
    line: str, status: int, words: str, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What libraries below Python say counts, too."""
    name, *args = line.split(" ")
    threads = torch.get_num_threads()
    assert main([name, *(FAST + SHORT if name == "fit" else []), *args]) == status
    torch.set_num_threads(threads)
    said = one_line(capfd)
    assert in_order(words, said), said
    assert not left_behind(files)


@pytest.mark.parametrize("variables", [{"WANDB_MODE": "banana"}, {"WANDB_INIT_TIMEOUT": "abc"}], ids=str)
def test_a_bad_variable_of_weights_and_biases_is_one_line(
    variables: dict[str, str], files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", *FAST[2:], *SHORT]) == 1
    line = one_line(capsys)
    assert "banana" in line or "abc" in line
    assert not left_behind(files)


def test_a_run_of_weights_and_biases_goes_with_the_start_that_failed(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["fit", *FAST[2:], *SHORT, "--trainer.precision", "64-true", "--trainer.strategy", "nothing"]) == 1
    assert "nothing" in one_line(capsys)
    assert main(["fit", *FAST[2:], *SHORT, "--model.optimizer.lr", "-1"]) == 1
    assert "learning rate" in one_line(capsys)
    assert not left_behind(files)


def test_a_project_that_cannot_be_is_one_line(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["fit", *FAST[2:], *SHORT, "--run.project", "a/b"]) == 1
    assert "cannot contain" in one_line(capsys)
    assert not left_behind(files)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "fit --trainer.devices 99",
        "fit --model.backbone networks.Single",
        "sweep --config plan.yaml --trainer.devices 99",
    ],
)
def test_a_process_ends_so_as_well(line: str, files: Path) -> None:
    name, *args = line.split()
    process = command(files, name, *(FAST + SHORT if name == "fit" else []), *args)
    started = time.monotonic()
    _, errors = process.communicate(timeout=120)
    print(f"{time.monotonic() - started:.1f} s")
    assert process.returncode in (1, 2)
    assert len(errors.splitlines()) == 1, errors
    assert not left_behind(files)


def test_a_folder_without_permission_is_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = files / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere")
    assert main(["fit", *FAST, *SHORT, "--run.root", str(locked / "runs")]) == 1
    assert "locked" in one_line(capsys)


def test_what_goes_wrong_after_the_beginning_keeps_its_traceback(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "late.py").write_text(
        "from networks import Plain\n"
        "class Late(Plain):\n"
        "    steps = 0\n"
        "    def forward(self, x):\n"
        "        self.steps += self.training\n"
        "        assert self.steps < 3\n"
        "        return super().forward(x)\n"
    )
    with pytest.raises(AssertionError):
        main(["fit", *FAST, "--trainer.max_epochs", "1", "--model.backbone", "late.Late"])
    assert list(files.glob("runs/*/*/result.json"))


def test_a_failed_start_takes_away_only_what_it_made(files: Path, fit: Callable[..., int]) -> None:
    assert fit(*SHORT, "--run.name", "a", "--run.id", "1") == 0
    mine = files / "runs" / "a" / "2"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (files / "runs").rglob("*") if path.is_file()}
    for id in ([], ["--run.id", "1"], ["--run.id", "2"], ["--run.id", "3"]):
        assert fit(*SHORT, "--run.name", "a", *id, "--model.optimizer.lr", "-1") == 1
    after = {path: path.read_bytes() for path in (files / "runs").rglob("*") if path.is_file()}
    assert after == before
    assert not (files / "runs" / "a" / "3").exists()
