"""Distillation: the loss, what the student keeps, which teachers are refused, and that a stopped run ends alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from PIL import Image
from torch import nn

from lit_adaptconv.train import ImageClassifier, load_run
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.teacher import Teacher

from .conftest import Command
from .test_averaging import Stopped
from .test_bad_input import one_line
from .test_resume import assert_same_end

STUDENT = ["--model.width", "0.3", "--data.image_size", "16", "--trainer.max_epochs", "3", "--data.shift", "1"]
STUDENT += ["--trainer.limit_train_batches", "4"]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_the_divergence_from_the_teacher(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    network = nn.Linear(6, 5, dtype=torch.float64)
    images, logits = (torch.randn(7, n, generator=generator, dtype=torch.float64) for n in (6, 5))
    got = Teacher(network, temperature).loss(images, logits)
    theirs, own = (scipy.special.softmax(x.detach().numpy() / temperature, 1) for x in (network(images), logits))
    expected = np.mean(np.sum(theirs * np.log(theirs / own), 1)) * temperature**2
    assert float(got) == pytest.approx(expected)
    student = logits.requires_grad_()
    assert Teacher(network, temperature).loss(images, student).requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_student_learns_from_its_teacher_alone_and_keeps_nothing_of_it(
    fit: Command, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = str(checkpoint.parents[1])
    names = ["--run.id", "1", "--model.teacher_weight", "1.0", "--trainer.max_epochs", "6"]
    assert fit(*STUDENT[:4], *names, "--data.batch_size", "32", "--run.name", "a", "--model.teacher", teacher) == 0
    kept = torch.load("runs/a/1/checkpoints/last.ckpt", weights_only=True)
    plain = ImageClassifier(width=0.3, image_size=(16, 16))
    assert kept["state_dict"].keys() == plain.state_dict().keys()
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert (result.parameters, result.flops) == (plain.parameter_count, plain.flops)
    assert result.training_flops_per_sample == plain.training_flops
    Path(teacher).rename(f"{teacher} moved")  # only training needs it
    try:
        student = load_run("runs/a/1", "last").module
    finally:
        Path(f"{teacher} moved").rename(teacher)
    with torch.no_grad():
        data = load_run(teacher, "last")
        assert data.data is not None
        data.data.setup("test")
        agree = [
            (student(images).argmax(1) == data.module(images).argmax(1)).float().mean()
            for images, _ in data.data.test_dataloader()
        ]
    assert float(torch.stack(agree).mean()) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("method", "call"), [("training_step", 7), ("test_step", 1)])
def test_a_student_that_was_stopped_ends_as_the_undisturbed_one(
    fit: Command, checkpoint: Path, method: str, call: int, monkeypatch: pytest.MonkeyPatch, unchecked: None
) -> None:
    taught = [*STUDENT, "--model.teacher", str(checkpoint), "--trainer.callbacks+=EMAWeightAveraging"]
    assert fit(*taught, "--run.name", "a", "--run.id", "1") == 0
    with monkeypatch.context() as stopped:
        stopped.setattr(ImageClassifier, method, Stopped(call)(getattr(ImageClassifier, method)))
        assert fit(*taught, "--run.name", "b", "--run.id", "1") == 130
    assert fit("--run.name", "b", "--ckpt_path", "last") == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model.teacher nowhere", "teacher nowhere: give the folder of a run of `adaptconv fit`, or a checkpoint in"),
        ("--model.teacher {} --data.image_size 12", "it takes images of 1×16×16, and the data have 1×12×12"),
        ("--model.teacher {} --data ImageFolder --data.root three --data.image_size 16 --data.in_channels 1",
         "it knows 10 classes, and the data have 3"),
        ("--model.teacher {} --data ImageFolder --data.root coloured",
         "it takes images of 1×16×16, and the data have 3×16×16"),
        ("--model.teacher {}x", "give the folder of a run"),
        ("--model.teacher damaged/checkpoints/last.ckpt", "teacher damaged/.*not a checkpoint, or a damaged one"),
        ("--model.teacher damaged/checkpoints/other.ckpt", "no checkpoint at"),
        ("--model.teacher {} --model.teacher_weight 1.5", "teacher_weight must be between 0 and 1, got 1.5"),
        ("--model.teacher {} --model.teacher_temperature 0", "teacher_temperature must be above 0, got 0"),
    ],
)  # fmt: skip
def test_a_teacher_that_does_not_fit_is_refused_in_one_line(
    fit: Command, checkpoint: Path, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = checkpoint.parents[1]
    Path("damaged/checkpoints").mkdir(parents=True)
    Path("damaged/config.yaml").write_text((run / "config.yaml").read_text())
    Path("damaged/checkpoints/last.ckpt").write_bytes(checkpoint.read_bytes()[:1000])
    drawn = np.random.default_rng(0)
    for name in "abc" if "three" in options else "0123456789":
        folder = Path("three" if "three" in options else "coloured", name)
        folder.mkdir(parents=True)
        for i in range(20):
            Image.fromarray(drawn.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    given = ["--model.width", "0.3", "--data.image_size", "16", "--trainer.max_epochs", "1"]
    assert fit(*given, *options.format(run).split()) != 0
    assert re.search(said, one_line(capsys))
    assert not list(Path().glob("runs/*/*/result.json"))


def test_another_teacher_does_not_continue_what_one_began(
    fit: Command, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: list[Any] = [*STUDENT[:6], "--trainer.limit_train_batches", "2", "--run.name", "a", "--run.id", "1"]
    assert fit(*options, "--model.teacher", str(checkpoint)) == 0
    capsys.readouterr()
    other = ["--run.name", "b", "--run.id", "1"]
    assert fit(*STUDENT, *other) == 0
    assert fit("--run.name", "a", "--ckpt_path", "last", "--model.teacher", "runs/b/1") == 1
    assert "its weights are not those that the training began with" in one_line(capsys)
