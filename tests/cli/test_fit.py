from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch
from adaptconv_cli.main import main

from lit_adaptconv.train.classifier import ImageClassifier
from lit_adaptconv.train.result import RunResult
from lit_adaptconv.train.runs import RunOptions

from .conftest import FAST, Command

pytestmark = pytest.mark.usefixtures("folder")


def rows(run: Path) -> list[dict[str, str]]:
    """The metrics of a run, without what the clock decides."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_leaves_its_configuration_metrics_checkpoints_and_result(fit: Command) -> None:
    assert (
        fit("--trainer.max_epochs", "2", "--run.name", "a", "--run.id", "1", "--trainer.val_check_interval", "0.5") == 0
    )
    run = Path("runs/a/1")
    assert {f.name for f in run.iterdir()} == {"config.yaml", "metrics.csv", "checkpoints", "result.json"}
    assert {f.name for f in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    result = RunResult.read(run / "result.json")
    assert (result.status, result.parameters, result.flops, result.epochs) == ("done", 61_706, 845_852, 2)
    assert [e.epoch for e in result.curve] == [0.5, 1.0, 1.5, 2.0]
    images, activated = 2 * 28 * 28 * 6 * 25, 845_852 - 2 * 416_520  # the images need no gradient
    training_flops = 3 * 2 * 416_520 - images + 2 * activated
    assert result.training_flops_per_sample == training_flops
    assert [e.flops for e in result.curve] == [training_flops * s for s in (640, 1221, 1861, 2442)]
    logged = [float(row["val/accuracy"]) for row in rows(run) if row["val/accuracy"]]
    assert logged == pytest.approx([e.value for e in result.curve], abs=1e-6)
    assert result.best_val_value == max(e.value for e in result.curve)
    assert result.test_value is not None


@pytest.mark.parametrize(
    ("options", "epochs"), [("--trainer.val_check_interval 0.4", 1.0), ("--trainer.max_steps 3", 0.3)]
)
def test_a_run_ends_with_an_evaluation_whatever_its_settings(fit: Command, options: str, epochs: float) -> None:
    run, also = Path("runs/a/1"), ["--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1"]
    assert fit(*options.split(), *also) == 0
    result = RunResult.read(run / "result.json")
    assert (result.curve[-1].step, result.curve[-1].epoch) == (result.steps, pytest.approx(epochs))
    assert (result.val_value, result.epochs) == (result.curve[-1].value, 1)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    values = [e["value"] for e in best["callbacks"]["ConvergenceCallback"]["curve"]]
    assert max(values) == values[-1] == result.best_val_value


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("--trainer.max_epochs 3", marks=pytest.mark.slow),
        pytest.param("--trainer.max_epochs 2 --trainer.val_check_interval 0.4", marks=pytest.mark.slow),
        "--trainer.max_steps 9",
    ],
)
def test_fit_says_which_checkpoint_each_accuracy_belongs_to(
    fit: Command, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [
        "--data.image_size",
        "16",
        "--trainer.limit_train_batches",
        "5",
        "--model.scheduler",
        "null",
        "--model.optimizer.lr",
        "0.01",
    ]
    assert fit(*few, *options.split(), "--run.name", "a", "--run.id", "1") == 0
    said = capsys.readouterr().out
    last, best = (f"checkpoints/{name}.ckpt" for name in ("last", "best"))
    assert (
        f"Validation accuracy and test accuracy are those of {last}. Best validation accuracy is that of {best}."
        in said
    )
    result = RunResult.read(Path("runs/a/1/result.json"))
    for stage, checkpoint, value in (
        ("validate", last, result.val_value),
        ("test", last, result.test_value),
        ("validate", best, result.best_val_value),
    ):
        assert main([stage, "--ckpt_path", f"runs/a/1/{checkpoint}", *FAST[2:]]) == 0
        assert f" {100 * (value or 0):.2f} %" in capsys.readouterr().out


def test_fit_says_where_no_checkpoint_has_the_network_that_was_tested(
    fit: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Averaging puts other weights into the network when the last checkpoint was written."""
    averaging = ["--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", "0.05"]
    few = ["--trainer.max_epochs", "4", "--trainer.limit_train_batches", "2", "--model.scheduler", "null"]
    assert fit(*few, *averaging, "--trainer.callbacks.swa_epoch_start", "1", "--run.name", "a") == 0
    assert "Test accuracy is that of no checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--trainer.enable_checkpointing false", ""),
        ("--run.test false", "Validation accuracy is that of checkpoints/last.ckpt. Best validation accuracy is"),
        ("--trainer.limit_val_batches 0", "Test accuracy is that of checkpoints/last.ckpt.\n"),
    ],
)
def test_fit_says_nothing_of_a_checkpoint_or_an_accuracy_that_is_not_there(
    fit: Command, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--trainer.limit_train_batches", "2", "--trainer.max_epochs", "1", "--run.name", "a"]
    assert fit(*few, *options.split()) == 0
    out = capsys.readouterr().out
    assert said in out
    assert bool(said) == ("ckpt" in out)


def test_the_saved_configuration_alone_repeats_the_run(fit: Command) -> None:
    network = ["--model.backbone", "ConvNet", "--model.kind", "adaptive_low_rank"]
    options = [*network, "--data.shift", "1", "--data.image_size", "12"]
    assert fit(*options, "--trainer.max_epochs", "1", "--run.name", "a", "--run.id", "1", "--seed_everything", "3") == 0
    assert main(["fit", "--config", "runs/a/1/config.yaml", "--run.id", "2"]) == 0
    assert same(weights(Path("runs/a/1")), weights(Path("runs/a/2")))
    assert rows(Path("runs/a/1")) == rows(Path("runs/a/2"))


def test_two_runs_of_one_second_have_two_folders(fit: Command) -> None:
    RunOptions("a", "runs").claim_folder()
    assert fit("--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1", "--run.name", "a") == 0
    assert len(list(Path("runs/a").iterdir())) == 2


def test_test_and_validate_find_the_configuration_by_the_checkpoint(
    fit: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    network = ["--model.kind", "separable", "--data.image_size", "12"]
    assert fit("--trainer.max_epochs", "2", "--run.name", "a", "--run.id", "1", *network) == 0
    result = RunResult.read(Path("runs/a/1/result.json"))
    capsys.readouterr()
    assert main(["test", "--ckpt_path", "runs/a/1/checkpoints/last.ckpt", *FAST[2:]]) == 0
    assert f"{100 * (result.test_value or 0):.2f} %" in capsys.readouterr().out
    assert main(["validate", "--ckpt_path", "last", *FAST[2:]]) == 0
    assert f"{100 * (result.val_value or 0):.2f} %" in capsys.readouterr().out


def test_a_checkpoint_of_the_command_is_loaded_in_python(fit: Command) -> None:
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    assert fit(*few, "--run.name", "a", "--run.id", "1", "--model.budget", "5000") == 0
    model = ImageClassifier.load_from_checkpoint("runs/a/1/checkpoints/last.ckpt", weights_only=True)
    assert model.parameter_count <= 5000
    assert same(dict(model.state_dict()), weights(Path("runs/a/1")))


def test_a_run_says_how_much_of_each_limit_it_uses(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--model.budget.flops", "1e6", "--model.budget.bytes=6000", "--model.budget", "1600"]
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    assert fit(*few, "--run.name", "a", "--run.id", "1", *limits) == 0
    out = capsys.readouterr().out
    said = " ".join(out[out.index("Of its budget") :].split())
    assert re.match(r"Of its budget .*?% of parameters,.*?% of FLOPs,.*? bytes ", said)
    result = RunResult.read(Path("runs/a/1/result.json"))
    assert (result.budget, result.budget_flops, result.budget_bytes) == (1_600, 1_000_000, 6_000)
    assert result.parameters is not None
    assert result.weight_bytes == 4 * result.parameters <= 6_000  # a LeNet5 has no normalisation
    assert result.weight_bytes >= 0.95 * 6_000
    assert main(["test", "--ckpt_path", "runs/a/1/checkpoints/last.ckpt", *FAST[2:]]) == 0
    model = ImageClassifier.load_from_checkpoint("runs/a/1/checkpoints/last.ckpt", weights_only=True)
    assert model.widths == tuple(result.widths)
    assert fit("--config", "runs/a/1/config.yaml", "--run.name", "b", "--run.id", "1") == 0
    assert RunResult.read(Path("runs/b/1/result.json")).widths == result.widths


def test_compare_prints_runs_side_by_side(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    for kind in ("standard", "adaptive_low_rank"):
        assert fit(*few, "--run.name", kind, "--model.kind", kind) == 0
    capsys.readouterr()
    assert main(["compare", "runs/standard", "runs/adaptive_low_rank"]) == 0
    out = capsys.readouterr().out
    assert "standard" in out
    assert "adaptive_low_rank" in out
    assert "61,706" in out


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU to be found")
def test_without_a_gpu_no_step_looks_for_one(fit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # Lightning's, which a run changes
    monkeypatch.setattr(torch.cuda, "device_count", lambda: looked.append(1) or 0)
    short = ["--trainer.limit_train_batches", "3", "--trainer.log_every_n_steps", "1", "--data.image_size", "12"]
    assert fit(*short, "--trainer.max_epochs", "1", "--run.name", "few", "--run.id", "1") == 0
    few = len(looked)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    assert fit(*short, "--trainer.max_epochs", "3", "--run.name", "more", "--run.id", "1") == 0
    assert len(looked) == 2 * few


def test_the_command_describes_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("adaptconv ")
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("fit", "validate", "test", "predict", "compare"))
    assert main(["fit", "--data", "MNIST", "--print_config"]) == 0
    assert "lit_adaptconv.data.MNIST" in capsys.readouterr().out


def test_a_schedule_without_a_length_steps_with_the_epochs(fit: Command) -> None:
    options = ["--model.scheduler", "StepLR", "--model.scheduler.step_size", "1", "--model.scheduler.gamma", "0.5"]
    assert fit(*options, "--trainer.max_epochs", "2", "--run.name", "a", "--run.id", "1") == 0
    checkpoint = torch.load("runs/a/1/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.003 * 0.25)


def test_last_is_the_finished_network_and_best_the_best_one(fit: Command, capsys: pytest.CaptureFixture[str]) -> None:
    # rates so high that accuracy goes up and down
    options = ["--model.scheduler", "null", "--model.optimizer.lr", "0.02", "--trainer.max_epochs", "5"]
    assert fit(*options, "--run.name", "a", "--run.id", "1") == 0
    result = RunResult.read(Path("runs/a/1/result.json"))
    steps = {
        name: torch.load(f"runs/a/1/checkpoints/{name}.ckpt", weights_only=True)["global_step"]
        for name in ("best", "last")
    }
    best = max(result.curve, key=lambda evaluation: evaluation.value)
    assert steps == {"best": best.step, "last": result.steps}
    assert steps["best"] < steps["last"]
    for name, value in (("best", result.best_val_value), ("last", result.val_value)):
        capsys.readouterr()
        assert main(["validate", "--ckpt_path", name, *FAST[2:]]) == 0
        assert f"{100 * (value or 0):.2f} %" in capsys.readouterr().out
