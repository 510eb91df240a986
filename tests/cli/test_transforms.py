"""Augmentation by torchvision's transforms, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from adaptconv_cli.main import main

from lit_adaptconv.train.result import RunResult

from .conftest import FAST, Command
from .test_resume import assert_same_end, evaluated_within_an_epoch, kill
from .test_resume import network as network

V2 = "torchvision.transforms.v2"
EVERY = [
    *(f"--data.transforms+={V2}.RandomCrop", "--data.transforms.size=28", "--data.transforms.padding=2"),
    *(f"--data.transforms+={V2}.RandomHorizontalFlip", f"--data.transforms+={V2}.RandAugment"),
    *(f"--data.transforms+={V2}.TrivialAugmentWide", f"--data.transforms+={V2}.RandomErasing"),
    *(f"--data.transforms+={V2}.MixUp", "--data.transforms.alpha=0.2", f"--data.transforms+={V2}.CutMix"),
]


def test_transforms_are_given_one_by_one_and_written_to_the_configuration(fit: Command) -> None:
    where = ["--run.name", "a", "--run.id", "1", "--trainer.max_epochs", "1"]
    assert fit(*EVERY, *where) == 0
    transforms = yaml.safe_load(Path("runs/a/1/config.yaml").read_text())["data"]["init_args"]["transforms"]
    names = ["RandomCrop", "RandomHorizontalFlip", "RandAugment", "TrivialAugmentWide", "RandomErasing"]
    assert [each["class_path"].rpartition(".")[2] for each in transforms] == [*names, "MixUp", "CutMix"]
    assert transforms[0]["init_args"]["padding"] == 2
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert 0 < result.curve[-1].train_value < 1  # type: ignore[operator]
    assert main(["test", "--config", "runs/a/1/config.yaml", "--ckpt_path", "runs/a/1/checkpoints/last.ckpt"]) == 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([f"--data.transforms+={V2}.MixUp", f"--data.transforms+={V2}.RandAugment"], "must stand before MixUp"),
        ([f"--data.transforms+={V2}.RandAugmentation"], "RandAugmentation"),
        ([f"--data.transforms+={V2}.RandomCrop", "--data.transforms.size=9"], "RandomCrop must keep images"),
        (["--data.transforms+=torch.optim.AdamW"], "AdamW"),
    ],
)
def test_bad_transforms_are_one_line(
    fit: Command, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    assert fit(*options, "--trainer.max_epochs", "1") != 0
    error = capsys.readouterr().err.strip()
    assert line in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.slow
def test_a_run_with_every_augmentation_killed_within_an_epoch_ends_as_the_undisturbed_one(network: Path) -> None:
    def arguments(name: str) -> list[str]:
        model = ["--model.backbone", "dropping.Dropping", "--trainer.max_epochs", "4"]
        often = ["--trainer.val_check_interval", "0.5", "--data.shift", "2"]
        return ["fit", *FAST, "--run.name", name, "--run.id", "1", *model, *often, *EVERY]

    assert main(arguments("a")) == 0
    kill(evaluated_within_an_epoch, run=arguments)
    assert main([*arguments("b"), "--ckpt_path", "last"]) == 0
    assert_same_end(Path("runs/a/1"), Path("runs/b/1"))
