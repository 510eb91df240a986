"""Bad input: one line that says what is wrong, no traceback, exit status 1 or 2, nothing lost."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from adaptconv_cli.main import main

from lit_adaptconv.train.result import RunResult

from .conftest import FAST, Command

SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--run.name", "a", "--run.id", "1"]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    errors = [line for line in capsys.readouterr().err.splitlines() if line and "Seed set" not in line]
    assert len(errors) == 1, errors
    assert errors[0].startswith("adaptconv: error: ")
    return errors[0]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["fit", "--model.kind", "adaptiv"], 1, ["adaptiv", "adaptive_low_rank", "separable"]),
        (["fit", "--model.kind_options.rank", "2"], 1, ["standard", "rank"]),
        (["fit", "--model.budget", "50"], 1, ["50 parameters", "narrowest", "100"]),
        (["fit", "--model.budget", "5000", "--model.width", "2"], 1, ["width", "budget"]),
        (["fit", "--data", "MNIT"], 2, ["MNIT", "MNIST"]),
        (["fit", "--model.backbone", "LeNet"], 2, ["LeNet5", "CaffeLeNet"]),
        (["fit", "--data", "MNIST", "--data.root", "nowhere"], 1, ["nowhere", "train-images", "--data.download true"]),
        (["fit", "--data", "ImageFolder", "--data.root", "nowhere"], 1, ["nowhere"]),
        (["fit", "--model.widht", "2"], 2, ["model.widht", "did you mean", "width"]),
        (["fit", "--config", "bad_key.yaml"], 2, ["widht", "did you mean", "width"]),
        (["fit", "--config", "missing.yaml"], 2, ["missing.yaml"]),
        (["fit", "--config", "malformed.yaml"], 2, ["parsing config", "line 1"]),
        (["fit", "--trainer.max_epochs", "many"], 2, ["max_epochs", "many"]),
        (["fit", "--data.batch_size", "0"], 1, ["batch_size", "0"]),
        (["fit", "--data.image_size", "8"], 1, ["LeNet5", "12"]),
        (["fit", "--ckpt_path", "last"], 1, ["no run"]),
        (["test"], 1, ["--ckpt_path"]),
        (["test", "--ckpt_path", "missing.ckpt"], 1, ["missing.ckpt"]),
        (["test", "--ckpt_path", "text.ckpt"], 1, ["text.ckpt", "not a checkpoint"]),
        (["compare", "nowhere"], 1, ["nowhere"]),
        (["fitt"], 2, ["fitt", "did you mean 'fit'"]),
    ],
)
def test_bad_arguments_end_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: list[str]
) -> None:
    (folder / "bad_key.yaml").write_text("model:\n  widht: 2\n")
    (folder / "malformed.yaml").write_text("model: [malformed\n")
    (folder / "text.ckpt").write_text("no checkpoint")
    quiet = FAST if arguments[0] == "fit" and "fast" not in arguments else []
    assert main([*arguments[:1], *quiet, *arguments[1:]]) == status
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert not any('"done"' in result.read_text() for result in folder.rglob("result.json"))


def test_a_truncated_idx_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        images = struct.pack(">IIII", 0x803, count, 28, 28) + bytes(count * 784)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images[:-100] if part == "train" else images)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + bytes(count))
    assert main(["fit", *FAST, "--data", "MNIST"]) == 1
    assert "train-images-idx3-ubyte" in one_line(capsys)


def test_a_checkpoint_of_another_network_is_refused(
    fit: Command, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*SHORT) == 0
    checkpoint = str(folder / "copy.ckpt")
    Path("runs/a/1/checkpoints/last.ckpt").rename(checkpoint)
    capsys.readouterr()
    assert main(["test", "--model.kind", "adaptive", "--ckpt_path", checkpoint, *FAST[2:]]) == 1
    assert "another network" in one_line(capsys)
    assert main(["predict", "--data.image_size", "20", "--ckpt_path", checkpoint, *FAST[2:]]) == 1
    line = one_line(capsys)
    assert "28×28" in line
    assert "20×20" in line
    content = Path(checkpoint).read_bytes()
    Path(checkpoint).write_bytes(content[: len(content) // 2])
    assert main(["test", "--ckpt_path", checkpoint, *FAST[2:]]) == 1
    assert "copy.ckpt" in one_line(capsys)


def test_a_diverged_loss_is_written_down(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.optimizer.lr", "1e30", "--model.scheduler", "null", *SHORT) == 1
    assert "lower learning rate" in one_line(capsys)
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert result.status == "diverged"
    assert "nan" in (result.reason or "") or "inf" in (result.reason or "")


def test_a_file_in_the_way_of_the_runs_is_one_line(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").write_text("")
    assert fit(*SHORT) == 1
    assert "runs" in one_line(capsys)


def test_predictions_go_to_csv_or_parquet_alone(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*SHORT) == 0
    capsys.readouterr()
    assert main(["predict", "--ckpt_path", "last", "--output", "p.xlsx", *FAST[2:]]) == 1
    assert ".parquet" in one_line(capsys)


def test_pickled_code_in_a_checkpoint_is_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (folder / "ran",))

    torch.save({"state_dict": {}, "evil": Evil()}, folder / "evil.ckpt")
    assert main(["test", "--ckpt_path", "evil.ckpt", *FAST[2:]]) == 1
    one_line(capsys)
    assert not (folder / "ran").exists()
